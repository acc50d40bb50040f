// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced-sim`: runs seeds of the simulated world, some at a time, and says what happened in them. Exit 0 only if every invariant held in every
// seed and, over a hundred seeds or more, nothing that should have happened is missing.

import Consensus
import Glibc
import Simulation

let usage = """
    usage: ced-sim [--seeds N] [--from S] [--workers W]     seeds S … S+N-1 (default: 100 from 1, 2 at a time)
           ced-sim --seed S [--trace]                       one seed; with --trace every event as it happens
           ced-sim --seconds T [--from S] [--workers W]     as many seeds as fit into T seconds
           … --check-determinism                            each seed twice: both runs must leave the same trace hash
           … --safety-phase MS                              a shorter or longer phase of faults than the seed draws
           … --hashes                                       a line for each seed with its trace hash
           ced-sim --seed S --trace FILE.html               the seed as a diagram for a browser
           ced-sim --seed S --minimize                      the smallest run of a failing seed that still fails, and how to repeat it
           … --without KIND,… --faults N --clients N --calm less of what the seed draws, as --minimize says
    """

/// In fewer seeds it may be chance that something never happens.
let leastSeeds: UInt64 = 100

struct Options {
    var seeds: UInt64 = 100
    var from: UInt64 = 1
    var single: UInt64?
    var seconds: UInt64?
    var workers = 2
    var trace = false
    var checkDeterminism = false
    var hashes = false
    var limits = Limits()
    var picture: String?
    var minimize = false

    init() {
        var arguments = CommandLine.arguments.dropFirst()
        func number(_ option: String) -> UInt64 {
            guard let text = arguments.popFirst(), let number = UInt64(text) else { fail("\(option) needs a number") }
            return number
        }
        while let argument = arguments.popFirst() {
            switch argument {
            case "--seeds": seeds = number(argument)
            case "--from": from = number(argument)
            case "--seed": single = number(argument)
            case "--seconds": seconds = number(argument)
            case "--workers": workers = max(1, Int(clamping: number(argument)))
            case "--trace":
                if let next = arguments.first, next.hasSuffix(".html") { picture = arguments.popFirst() } else { trace = true }
            case "--minimize": minimize = true
            case "--without":
                for name in (arguments.popFirst() ?? "").split(separator: ",") {
                    guard let kind = FaultPlan.Kind.allCases.first(where: { "\($0)" == name }) else {
                        fail("no kind of fault is called \(name)")
                    }
                    limits.without.append(kind)
                }
            case "--faults": limits.faults = Int(clamping: number(argument))
            case "--clients": limits.clients = Int(clamping: number(argument))
            case "--calm": limits.isCalm = true
            case "--check-determinism": checkDeterminism = true
            case "--hashes": hashes = true
            case "--safety-phase": limits.safetyPhase = .milliseconds(number(argument))
            case "--help", "-h":
                say(usage)
                exit(0)
            default: fail("unknown argument \(argument)")
            }
        }
    }

    func fail(_ problem: String) -> Never {
        say("ced-sim: \(problem)\n\(usage)", to: 2)
        exit(64)
    }
}

/// A line at once, whoever reads it: nothing is kept in a buffer when a seed ends the process.
func say(_ line: String, to file: Int32 = 1) {
    let bytes = Array((line + "\n").utf8)
    var sent = 0
    while sent < bytes.count {
        let count = bytes[sent...].withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        guard count > 0 else { return }
        sent += count
    }
}

/// The seed that was begun last, for those who must say where a trap came from. Written by the one task that starts seeds.
nonisolated(unsafe) var newestSeed: UInt64 = 0

/// A trap (an overflow in apply, say) ends the process at once; this says in which seeds to look for it.
func sayWhereItTraps() {
    for number in [SIGILL, SIGTRAP, SIGSEGV, SIGABRT] {
        signal(number) { number in
            signal(number, SIG_DFL)
            say("FAILED: a trap in seed \(newestSeed), or in one that was begun just before it (--workers 1 tells)", to: 2)
            raise(number)
        }
    }
}

func secondsNow() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }
func leftPadded(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
func rounded(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
func hexadecimal(_ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

/// Of the core that this thread runs on, whatever else runs beside it.
func coreSecondsNow() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// What one worker found in one seed.
struct Finding: Sendable {
    let result: World.Result
    let isDeterministic: Bool
    /// Three members from the beginning to the end: what the rate is stated for.
    let isOfThree: Bool
    let coreSeconds: Double
}

func examine(_ seed: UInt64, limits: Limits, twice: Bool) -> Finding {
    let started = coreSecondsNow()
    let world = World(seed: seed, limits: limits)
    let result = world.run()
    let coreSeconds = coreSecondsNow() - started
    let isDeterministic = !twice || World(seed: seed, limits: limits, recording: true).run().hash == result.hash
    return Finding(
        result: result, isDeterministic: isDeterministic, isOfThree: world.plan.members == 3 && world.plan.guests == 0,
        coreSeconds: coreSeconds)
}

/// Simulated seconds per second of a core.
struct Rate {
    private(set) var seeds = 0
    private var simulatedSeconds = 0.0
    private var coreSeconds = 0.0
    mutating func add(_ finding: Finding) {
        seeds += 1
        simulatedSeconds += Double(finding.result.simulated.milliseconds) / 1000
        coreSeconds += finding.coreSeconds
    }
    var perCoreSecond: Double { coreSeconds > 0 ? simulatedSeconds / coreSeconds : 0 }
}

/// Runs it again, this time with words.
func report(_ seed: UInt64, limits: Limits) {
    let failure = World(seed: seed, limits: limits, recording: true).run().failure
    say(failure.map { "\n\($0)" } ?? "\nseed \(seed) failed, and did not when it was repeated: the world is not deterministic")
}

func runOne(_ seed: UInt64, _ options: Options) -> Int32 {
    let world = World(
        seed: seed, limits: options.limits, recording: true, drawing: options.picture != nil, follow: options.trace ? { say($0) } : nil)
    let result = world.run()
    if let path = options.picture, let picture = world.picture {
        guard PictureFile.write(PictureFile.text(of: picture, seed: seed, end: world.now), to: path) else {
            options.fail("cannot write \(path): \(String(cString: strerror(errno)))")
        }
        say("drawn in \(path)")
    }
    if let failure = result.failure {
        say(options.trace ? "\nseed \(seed), at \(failure.time) s: \(failure.broken)" : "\n\(failure)")
    }
    for happening in Happening.allCases where result.coverage[happening] > 0 {
        say("\(padded(happening.label, 32))\(leftPadded("\(result.coverage[happening])", 9))")
    }
    say(
        "seed \(seed): trace hash \(hexadecimal(result.hash)), \(result.steps) steps, \(rounded(Double(result.simulated.milliseconds) / 1000)) simulated seconds"
    )
    return result.failure == nil ? 0 : 1
}

/// Takes away one thing after the other, as long as the same invariant does not hold.
func minimize(_ seed: UInt64, _ options: Options) -> Int32 {
    let world = World(seed: seed, limits: options.limits)
    let result = world.run()
    guard let failure = result.failure else {
        say("seed \(seed) does not fail: there is nothing to make smaller")
        return 1
    }
    var runs = 0
    let limits = Limits.smallest(from: options.limits, plan: world.plan, faults: Int(clamping: result.coverage[.faultsMade])) { limits in
        runs += 1
        let found = World(seed: seed, limits: limits).run().failure
        let isSame = found?.broken.invariant == failure.broken.invariant
        say("\(isSame ? "fails " : "passes"): \(limits.arguments)")
        return isSame
    }
    report(seed, limits: limits)
    say("after \(runs) runs; to repeat it: ced-sim --seed \(seed) \(limits.arguments) --trace")
    return 1
}

func runMany(_ options: Options) async -> Int32 {
    let started = secondsNow()
    let deadline = options.seconds.map { started + Double($0) }
    let end = options.seconds == nil ? options.from + options.seeds : UInt64.max
    var coverage = Coverage()
    var simulatedMilliseconds: UInt64 = 0
    var (all, ofThree) = (Rate(), Rate())
    var done: UInt64 = 0
    var failed: [UInt64] = []
    var nextLine = started + 10

    await withTaskGroup(of: Finding.self) { group in
        var next = options.from
        func start() -> Bool {
            guard next < end, failed.isEmpty, deadline.map({ secondsNow() < $0 }) ?? true else { return false }
            let (seed, limits, twice) = (next, options.limits, options.checkDeterminism)
            group.addTask { examine(seed, limits: limits, twice: twice) }
            newestSeed = next
            next += 1
            return true
        }
        for _ in 0..<options.workers where !start() { break }
        while let finding = await group.next() {
            let result = finding.result
            done += 1
            coverage.add(result.coverage)
            simulatedMilliseconds += result.simulated.milliseconds
            all.add(finding)
            if finding.isOfThree { ofThree.add(finding) }
            if options.hashes { say("seed \(result.seed) \(hexadecimal(result.hash))") }
            if let failure = result.failure {
                say("seed \(result.seed) FAILED at \(failure.time) s: \(failure.broken)")
                failed.append(result.seed)
            } else if !finding.isDeterministic {
                say("seed \(result.seed) FAILED: two runs of it left different traces")
                failed.append(result.seed)
            }
            if secondsNow() > nextLine {
                nextLine += 10
                say(
                    "\(done) seeds, \(coverage[.commits]) commits, \(rounded(Double(simulatedMilliseconds) / 1000 / (secondsNow() - started))) simulated seconds per second"
                )
            }
            _ = start()
        }
    }

    let elapsed = secondsNow() - started
    say("")
    for happening in Happening.allCases { say("\(padded(happening.label, 32))\(leftPadded("\(coverage[happening])", 12))") }
    say(
        "\n\(done) seeds from \(options.from) on, \(simulatedMilliseconds / 1000) simulated seconds in \(rounded(elapsed)) s: \(rounded(Double(simulatedMilliseconds) / 1000 / elapsed)) simulated seconds per second"
    )
    say(
        "a core: \(rounded(all.perCoreSecond)) simulated seconds per second, \(rounded(ofThree.perCoreSecond)) in the \(ofThree.seeds) seeds of three members"
    )

    if let seed = failed.min() {
        report(seed, limits: options.limits)
        return 1
    }
    guard done > 0 else {
        say("FAILED: no seed was run; ask for one at least (--seeds), or for the time of one (--seconds)")
        return 1
    }
    if done >= leastSeeds, !coverage.missing.isEmpty {
        say("FAILED: never happened: \(coverage.missing.map(\.label).joined(separator: ", "))")
        return 1
    }
    if options.checkDeterminism { say("every seed left the same trace twice") }
    say("every invariant held in every seed")
    return 0
}

@main
struct Simulator {
    static func main() async {
        let options = Options()
        newestSeed = options.single ?? options.from
        sayWhereItTraps()
        if let seed = options.single { exit(options.minimize ? minimize(seed, options) : runOne(seed, options)) }
        exit(await runMany(options))
    }
}
