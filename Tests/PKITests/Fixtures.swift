// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Authorities and keys made for the test, and the `openssl` command as the second opinion.

import CtrlExec
import Foundation
import PKI

let start: Int64 = 1_800_000_000
let year: Int64 = 365 * 86_400

func serial(_ number: UInt8) -> SerialNumber { SerialNumber(bytes: [0x5c, 0, number])! }

func authority(_ name: String = "test CA", lasting: Int64 = 10 * year) throws -> Authority {
    try Authority.selfSigned(commonName: name, key: .generateP256(), notBefore: start, notAfter: start + lasting, serial: serial(1))
}

func request(_ name: String = "web-1") throws -> CertificateRequest { try .make(key: .generateP256(), commonName: name) }

/// A directory for the length of a test.
final class Scratch {
    let path: String
    init() throws {
        path = NSTemporaryDirectory() + "pki-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ bytes: [UInt8], _ name: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name))
    }
    func write(_ text: String, _ name: String) throws { try write(Array(text.utf8), name) }
    func read(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path + "/" + name))) }

    /// Runs the command in the directory; its output, both streams, and its exit code.
    @discardableResult func openssl(_ arguments: String...) throws -> (code: Int32, output: String) { try openssl(arguments) }

    @discardableResult func openssl(_ arguments: [String]) throws -> (code: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: path)
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}
