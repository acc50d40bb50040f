// What Swift cannot import of OpenSSL: macros and variadic functions, as inline functions.
#ifndef CED_COPENSSL_SHIM_H
#define CED_COPENSSL_SHIM_H
#include <openssl/ec.h>
#include <openssl/evp.h>
static inline EVP_PKEY *ced_generate_p256(void) { return EVP_EC_gen("P-256"); }
#endif
