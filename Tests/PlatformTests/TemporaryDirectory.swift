// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A place on the real disk for a test.

import Glibc

/// A directory of its own for one test; gone with the value's last owner.
final class TemporaryDirectory: Sendable {
    let path: String
    init() {
        var template = Array("/tmp/ced-platform-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { preconditionFailure("cannot make a temporary directory") }
        path = String(cString: made)
    }
    deinit { TemporaryDirectory.remove(path) }

    private static func remove(_ path: String) {
        if let stream = opendir(path) {
            while let entry = readdir(stream) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != ".", name != ".." { TemporaryDirectory.remove(path + "/" + name) }
            }
            closedir(stream)
            rmdir(path)
        } else {
            unlink(path)
        }
    }
}
