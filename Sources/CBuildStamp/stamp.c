// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.
// In C, so that another commit means compiling this file and linking again, and nothing else; see Package.swift and docs/decisions.
#include "CBuildStamp.h"

#define TEXT(word) #word
#define TEXT_OF(macro) TEXT(macro)

const char *ced_build_commit(void) {
#ifdef CED_COMMIT
    return TEXT_OF(CED_COMMIT);
#else
    return "";
#endif
}
