/*
 * What a public header wears: its declarations stand between HG_API_BEGIN and HG_API_END, its
 * includes before them. The library is built with hidden symbols; these are the ones it shows, with
 * C linkage.
 */
#ifndef HG_BASE_API_H
#define HG_BASE_API_H

#ifdef __cplusplus
#define HG_API_BEGIN                                                                               \
    _Pragma("GCC visibility push(default)") extern "C"                                             \
    {
#define HG_API_END                                                                                 \
    }                                                                                              \
    _Pragma("GCC visibility pop")
#else
#define HG_API_BEGIN _Pragma("GCC visibility push(default)")
#define HG_API_END   _Pragma("GCC visibility pop")
#endif

#endif
