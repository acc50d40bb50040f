// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is in a directory.

import Glibc

package enum DirectoryListing {
    package struct File: Hashable, Sendable {
        package let name: String
        package let bytes: Int
        /// Seconds since 1970.
        package let modifiedSeconds: Int64
    }

    /// All names but `.` and `..`, sorted.
    package static func names(in path: String) throws(FileProblem) -> [String] {
        guard let stream = opendir(path) else { throw FileProblem("list", path) }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                guard errno == 0 else { throw FileProblem("list", path) }
                return names.sorted()
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: $0.pointee)) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    /// The regular files, by name; links are not followed. What vanishes meanwhile is left out.
    package static func files(in path: String) throws(FileProblem) -> [File] {
        try names(in: path).compactMap { name in
            var status = stat()
            guard lstat(path + "/" + name, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
            return File(name: name, bytes: Int(status.st_size), modifiedSeconds: Int64(status.st_mtim.tv_sec))
        }
    }
}
