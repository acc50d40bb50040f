// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What `cea self-check` and `cea pairing-status` find out, without any network.

import CtrlExec
import PKI
import Platform
import Transport

package struct SelfCheck: Sendable {
    package struct Finding: Hashable, Sendable {
        package let isFine: Bool
        package let text: String
    }

    package let layout: AgentLayout
    package init(layout: AgentLayout) { self.layout = layout }

    /// Throws for a configuration that cannot be read; everything else is a finding.
    package func run() throws(AgentFailure) -> [Finding] {
        let configuration = try layout.requiredConfiguration()
        var findings = [Finding(isFine: true, text: "configuration: \(layout.configuration), port \(configuration.port)")]
        findings += configuration.warnings.map { Finding(isFine: false, text: $0.description) }
        findings.append(pairing(configuration))
        findings += trust(configuration) + scripts(configuration)
        if let hook = configuration.authHook {
            let isFine = isExecutableFile(hook)
            findings.append(Finding(isFine: isFine, text: isFine ? "auth hook: \(hook)" : AgentErrors.hookMissing(hook)))
        }
        return findings
    }

    /// Whether key, certificate and CA are there and belong together.
    package func pairing(_ configuration: AgentConfiguration) -> Finding {
        do {
            let key = try PrivateKey(pem: DurableFile.read(configuration.key))
            let certificate = try Certificate(pem: DurableFile.read(configuration.cert))
            let roots = try Certificate.all(inPEM: DurableFile.read(configuration.ca))
            guard key.matches(certificate) else { throw PKIFailure("the key in \(configuration.key) is not that of \(configuration.cert)") }
            try verify(chain: [certificate], roots: roots, at: wallClockSeconds())
            let expiry = OpenSSLTime.text(unixSeconds: certificate.notAfter)
            return Finding(isFine: true, text: "paired: yes, as \(certificate.commonName ?? "nobody") (certificate expires \(expiry))")
        } catch {
            return Finding(isFine: false, text: "paired: no (\(error))")
        }
    }

    private func trust(_ configuration: AgentConfiguration) -> [Finding] {
        do {
            let bytes = try AgentFiles.readIfPresent(configuration.trustedDispatchers) ?? []
            let trusted = TrustedDispatchers(text: String(decoding: bytes, as: UTF8.self))
            if trusted.isEmpty {
                return [Finding(isFine: false, text: "no dispatcher is trusted (\(configuration.trustedDispatchers) is empty)")]
            }
            return trusted.entries.map { Finding(isFine: true, text: "trusted: \($0.dispatcher), serial \($0.serial)") }
        } catch {
            return [Finding(isFine: false, text: "\(error)")]
        }
    }

    private func scripts(_ configuration: AgentConfiguration) -> [Finding] {
        do {
            let bytes = try DurableFile.read(layout.allowlist)
            let allowlist = Allowlist(text: String(decoding: bytes, as: UTF8.self), path: layout.allowlist)
            return allowlist.warnings.map { Finding(isFine: false, text: $0.description) }
                + allowlist.scripts.map { script in
                    let isFine = isExecutableFile(script.path)
                    return Finding(isFine: isFine, text: "script: \(script.name) = \(script.path)\(isFine ? "" : " is no executable file")")
                }
        } catch {
            return [Finding(isFine: false, text: "\(error)")]
        }
    }
}
