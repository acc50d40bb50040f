// What Swift cannot import of OpenSSL: macros and variadic functions, as inline functions.
#ifndef CED_COPENSSL_SHIM_H
#define CED_COPENSSL_SHIM_H
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static inline EVP_PKEY *ced_generate_p256(void) { return EVP_EC_gen("P-256"); }

static inline EVP_PKEY *ced_generate_rsa(size_t bits) { return EVP_RSA_gen(bits); }

/// The bytes of a memory BIO; they belong to it.
static inline size_t ced_bio_bytes(BIO *bio, const unsigned char **bytes) {
    char *data = NULL;
    long count = BIO_get_mem_data(bio, &data);
    *bytes = (const unsigned char *)data;
    return count > 0 ? (size_t)count : 0;
}

/// A password callback that has none, so that an encrypted key is an error and never a prompt on the terminal.
static inline int ced_no_password(char *buffer, int size, int writing, void *context) {
    (void)buffer, (void)size, (void)writing, (void)context;
    return -1;
}

static inline EVP_PKEY *ced_read_private_key(BIO *bio) { return PEM_read_bio_PrivateKey(bio, NULL, ced_no_password, NULL); }

static inline X509 *ced_read_certificate(BIO *bio) { return PEM_read_bio_X509(bio, NULL, ced_no_password, NULL); }

static inline X509_REQ *ced_read_request(BIO *bio) { return PEM_read_bio_X509_REQ(bio, NULL, ced_no_password, NULL); }

static inline int ced_is_end_of_pem(unsigned long error) {
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/// Adds one version 3 extension; `issuer` may be `certificate` itself. 1 when done.
static inline int ced_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (extension == NULL) return 0;
    int done = X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return done;
}

static inline STACK_OF(X509) *ced_certificates_new(void) { return sk_X509_new_null(); }

/// The stack does not take ownership.
static inline int ced_certificates_append(STACK_OF(X509) *stack, X509 *certificate) { return sk_X509_push(stack, certificate); }

static inline void ced_certificates_free(STACK_OF(X509) *stack) { sk_X509_free(stack); }

/// Null if there is no such extension, or more than one.
static inline STACK_OF(GENERAL_NAME) *ced_alternative_names(const X509 *certificate) {
    return (STACK_OF(GENERAL_NAME) *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
}

static inline int ced_alternative_name_count(const STACK_OF(GENERAL_NAME) *names) { return sk_GENERAL_NAME_num(names); }

/// The text of the name at `index` if it is a URI, else null; it belongs to the stack.
static inline const ASN1_STRING *ced_alternative_name_uri(const STACK_OF(GENERAL_NAME) *names, int index) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    return name->type == GEN_URI ? name->d.uniformResourceIdentifier : NULL;
}

static inline void ced_alternative_names_free(STACK_OF(GENERAL_NAME) *names) { GENERAL_NAMES_free(names); }
#endif
