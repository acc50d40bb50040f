// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a service manager tries again, and what it leaves alone.

import CtrlExec
import Glibc
import PKI
import Platform
import Testing
import Transport

@testable import Coordinator

@Suite("Why a member does not start")
struct StartRefusalTests {
    private func isPermanent(_ cause: any Error) -> Bool? { StartRefusal(because: cause)?.isPermanent }

    @Test(
        "A file that is missing, forbidden or the wrong kind stays so", arguments: [ENOENT, EACCES, EPERM, ENOTDIR, EISDIR, ELOOP, EROFS])
    func permanentFiles(number: Int32) {
        #expect(isPermanent(FileProblem("read", "/x", number)) == true)
        #expect(isPermanent(DirectoryLock.Refusal.file(FileProblem("open", "/x/lock", number))) == true)
    }

    @Test("A machine that is short of something may have it again", arguments: [EIO, ENOSPC, EMFILE, ENFILE, ENOMEM, EINTR, ETIMEDOUT])
    func passingFiles(number: Int32) {
        #expect(isPermanent(FileProblem("read", "/x", number)) == false)
    }

    @Test("Another process may end, and an address may come up")
    func passing() {
        #expect(isPermanent(DirectoryLock.Refusal.held(directory: "/x", pid: 7)) == false)
        #expect(isPermanent(ListenFailure("in use", isInUse: true)) == false)
        #expect(isPermanent(StartRefusal("later", isPermanent: false)) == false)
    }

    @Test("What is written down wrong stays wrong")
    func permanent() {
        #expect(isPermanent(ConfigurationError(path: "/x", "wrong")) == true)
        #expect(isPermanent(PKIFailure("no certificate")) == true)
        #expect(isPermanent(ListenFailure("forbidden", isPermanent: true)) == true)
        #expect(isPermanent(StartRefusal("never", isPermanent: true)) == true)
    }

    @Test("A bug is no refusal")
    func bug() { #expect(StartRefusal(because: CancellationError()) == nil) }
}
