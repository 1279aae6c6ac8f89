
/* lockcheck: the bit that tells whether an allocation may sleep differs between versions. */
#ifndef LOCKCHECK_GFP_TYPES
#define LOCKCHECK_GFP_TYPES
#ifdef ___GFP_DIRECT_RECLAIM
enum { __lockcheck_constant_gfp_direct_reclaim = (int)(___GFP_DIRECT_RECLAIM) };
#endif
#ifdef ___GFP_ZERO
enum { __lockcheck_constant_gfp_zero = (int)(___GFP_ZERO) };
#endif
#endif
