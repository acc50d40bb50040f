// swift-tools-version: 6.2
// ced: a ctrl-exec dispatcher that is a cluster by itself.
// Rooms are targets, so that the compiler keeps the walls between them; the pure ones come first.
import PackageDescription

/// CI sets this, so that a warning in our own code fails the build and one in somebody else's does not.
let warningsAreErrors = Context.environment["CED_WARNINGS_AS_ERRORS"] == "1"

let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ] + (warningsAreErrors ? [.treatAllWarnings(as: .error)] : [])

/// What `make` and `ops/test` say of the commit that is built; a build that was told nothing says nothing, rather than something old.
let stamp: [CSetting] = {
    guard let commit = Context.environment["CED_COMMIT"], (1...64).contains(commit.utf8.count),
        commit.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "+.-_".contains($0)) })
    else { return [] }
    return [.define("CED_COMMIT", to: commit)]
}()

/// Plays and their traces, which the tests beside them read.
let scenarios = [
    "crash-between-reserve-and-record", "delayed-timeout-now", "deposed-leader", "disruptive-server", "figure-8", "leader-removes-itself",
    "one-way-partition", "restarted-voter", "rotation-with-dying-leaders", "snapshot-install-interrupted", "two-disks-lost",
    "undone-configuration",
].flatMap { ["\($0).txt", "\($0).golden"] }
/// The simulator runs one thing after the other, so that checks of exclusive access find nothing; and it loads nothing at its start.
let simulatorSettings: [SwiftSetting] =
    settings + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]
let simulatorLinking: [LinkerSetting] = [
    .unsafeFlags(
        ["-static-stdlib", "-l_FoundationCollections", "-l_FoundationCShims", "-lswiftSynchronization"], .when(configuration: .release))
]

let nio: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let subprocess: Target.Dependency = .product(name: "Subprocess", package: "swift-subprocess")
/// The paths that Subprocess speaks in.
let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

let package = Package(
    name: "ced",
    products: [
        .executable(name: "ced", targets: ["ced"]),
        .executable(name: "cea", targets: ["cea"]),
        .executable(name: "ced-sim", targets: ["ced-sim"]),
        .executable(name: "ced-explore", targets: ["ced-explore"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-protobuf.git", from: "1.39.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess.git", from: "1.0.2", traits: []),
        .package(url: "https://github.com/apple/swift-system.git", from: "1.8.1"),
    ],
    targets: [
        // The pure rooms: no clock, no randomness, no async, no I/O.
        .target(name: "Consensus", swiftSettings: settings),
        .target(name: "CtrlExec", swiftSettings: settings),
        .target(
            name: "DispatcherState", dependencies: ["Consensus", "CtrlExec"], path: "Sources/Dispatcher/State",
            swiftSettings: settings),
        .target(
            name: "Wire", dependencies: ["Consensus", "CtrlExec", "DispatcherState", protobuf], exclude: ["Protocol", "README.md"],
            swiftSettings: settings),
        .target(
            name: "CoordinatorCore", dependencies: ["Consensus", "CtrlExec", "DispatcherState", "Wire"],
            path: "Sources/Coordinator/Core", swiftSettings: settings),

        // The world outside.
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .target(name: "COpenSSLShim", dependencies: ["COpenSSL"]),
        .target(name: "CBuildStamp", cSettings: stamp),
        .systemLibrary(name: "CSystemd", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),
        .target(name: "Platform", dependencies: ["Consensus", "CtrlExec", "CSystemd", logging], swiftSettings: settings),
        .target(name: "PKI", dependencies: ["CtrlExec", "COpenSSL", "COpenSSLShim"], swiftSettings: settings),
        .target(
            name: "Transport",
            dependencies: ["CtrlExec", "PKI", "Platform", nio, nioPosix, nioHTTP1, nioTLS, nioSSL, logging],
            swiftSettings: settings),
        .target(
            name: "Hooks", dependencies: ["CtrlExec", "Platform", subprocess, systemPackage], swiftSettings: settings),
        .target(
            name: "AgentLink", dependencies: ["CtrlExec", "DispatcherState", "PKI", "Platform", "Transport", nio, logging],
            path: "Sources/Dispatcher/AgentLink", swiftSettings: settings),
        .target(
            name: "Coordinator",
            dependencies: [
                "CoordinatorCore", "AgentLink", "Hooks", "Wire", "PKI", "Platform", "Transport", nio, nioPosix, nioSSL, logging,
            ],
            path: "Sources/Coordinator", exclude: ["Core"], swiftSettings: settings),
        .target(
            name: "Agent",
            dependencies: ["CtrlExec", "Hooks", "PKI", "Platform", "Transport", nio, nioPosix, logging, subprocess, systemPackage],
            swiftSettings: settings),
        .executableTarget(
            name: "ced", dependencies: ["CBuildStamp", "Coordinator", "AgentLink", "PKI", "Platform", "Transport", arguments, logging],
            swiftSettings: settings),
        .executableTarget(
            name: "cea", dependencies: ["CBuildStamp", "Agent", "CtrlExec", "Platform", "Transport", arguments, logging, nio, nioPosix],
            swiftSettings: settings),

        // The proof.
        .target(
            name: "Simulation", dependencies: ["Consensus", "CtrlExec", "DispatcherState", "Wire", "CoordinatorCore"],
            path: "Tests/Simulation", exclude: ["Runner", "Scenarios", "Tests", "mutants"], sources: ["World", "Invariants"],
            swiftSettings: simulatorSettings),
        .executableTarget(
            name: "ced-sim", dependencies: ["Consensus", "Simulation"], path: "Tests/Simulation/Runner", swiftSettings: simulatorSettings,
            linkerSettings: simulatorLinking),
        .testTarget(
            name: "SimulationTests", dependencies: ["Simulation", "Consensus", "CtrlExec", "DispatcherState", "Wire", "CoordinatorCore"],
            path: "Tests/Simulation/Tests", swiftSettings: settings),
        .testTarget(
            name: "ScenarioTests", dependencies: ["Simulation", "Consensus", "CtrlExec", "DispatcherState", "Wire", "CoordinatorCore"],
            path: "Tests/Simulation/Scenarios", exclude: scenarios, swiftSettings: settings),
        .target(name: "Exploration", dependencies: ["Consensus"], path: "Tests/Exploration/Explorer", swiftSettings: settings),
        .executableTarget(name: "ced-explore", dependencies: ["Exploration"], path: "Tests/Exploration/Runner", swiftSettings: settings),
        .testTarget(
            name: "ExplorationTests", dependencies: ["Consensus", "Exploration"], path: "Tests/Exploration/Tests", swiftSettings: settings),
        .testTarget(name: "ConsensusTests", dependencies: ["Consensus", "Simulation"], swiftSettings: settings),
        // Real bytes of real programs, for whoever must understand them.
        .target(name: "TraceFixtures", path: "Tests/Fixtures", exclude: ["traces"], swiftSettings: settings),
        .testTarget(name: "CtrlExecTests", dependencies: ["CtrlExec", "TraceFixtures"], swiftSettings: settings),
        .testTarget(name: "DispatcherStateTests", dependencies: ["DispatcherState"], swiftSettings: settings),
        .testTarget(name: "WireTests", dependencies: ["Wire"], swiftSettings: settings),
        .testTarget(name: "CoordinatorCoreTests", dependencies: ["CoordinatorCore"], swiftSettings: settings),
        .testTarget(name: "PlatformTests", dependencies: ["CtrlExec", "Platform", "Simulation", logging], swiftSettings: settings),
        .testTarget(name: "HooksTests", dependencies: ["Hooks", "Platform"], swiftSettings: settings),
        .testTarget(name: "PKITests", dependencies: ["CtrlExec", "PKI"], swiftSettings: settings),
        .testTarget(
            name: "TransportTests", dependencies: ["CtrlExec", "PKI", "Transport", nio, nioPosix, nioSSL, nioTLS], swiftSettings: settings),
        .testTarget(
            name: "AgentTests",
            dependencies: ["Agent", "cea", "CtrlExec", "PKI", "Platform", "TraceFixtures", "Transport", nio, nioPosix, logging],
            swiftSettings: settings),
        .testTarget(name: "CoordinatorTests", dependencies: ["Coordinator", "ced"], swiftSettings: settings),
        .executableTarget(
            name: "ced-forge",
            dependencies: ["Consensus", "Coordinator", "CtrlExec", "DispatcherState", "PKI", "Platform", "Transport", "Wire", arguments],
            path: "Tests/Forge", swiftSettings: settings),
        .testTarget(name: "EndToEndTests", dependencies: ["ced", "cea", "ced-forge"], exclude: ["checks"], swiftSettings: settings),
        .testTarget(name: "TidyTests", swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
