// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.
// The commit of which a program was built.
#ifndef CED_BUILD_STAMP_H
#define CED_BUILD_STAMP_H

// Empty if the build was not told. Lives for ever.
const char *ced_build_commit(void);

#endif
