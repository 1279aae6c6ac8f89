
/* lockcheck: the bit that tells whether an allocation may sleep differs between versions. */
#ifndef LOCKCHECK_GFP_TYPES
#define LOCKCHECK_GFP_TYPES
#ifdef ___GFP_DIRECT_RECLAIM
enum { __lockcheck_constant_gfp_direct_reclaim = (int)(___GFP_DIRECT_RECLAIM) };
#endif
#endif
