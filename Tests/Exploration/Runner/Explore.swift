// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced-explore`: breadth-first search over what three members may do. Exit 0 only if everything held and enough was seen; a violation is
// printed with the shortest way to it.

import Exploration
import Glibc

let usage = """
    usage: ced-explore [--states N] [--seconds T] [--least N]
    N states from each beginning (default 400000), T seconds in all (default 100), and at least so many states in all (default 1000000)
    """

func secondsNow() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func say(_ line: String) {
    print(line)
    fflush(nil)
}

@main
struct Explore {
    static func main() {
        var numbers = ["--states": 400_000, "--seconds": 100, "--least": 1_000_000]
        var arguments = CommandLine.arguments.dropFirst()
        while let option = arguments.popFirst() {
            guard numbers[option] != nil, let number = arguments.popFirst().flatMap({ Int($0) }), number >= 0 else {
                say(usage)
                exit(option == "--help" ? 0 : 64)
            }
            numbers[option] = number
        }
        exit(run(states: numbers["--states"] ?? 0, seconds: Double(numbers["--seconds"] ?? 0), least: numbers["--least"] ?? 0))
    }

    static func run(states: Int, seconds: Double, least: Int) -> Int32 {
        let started = secondsNow()
        var total = 0
        let roots: [Root]
        do throws(Broken) { roots = try Root.all() } catch {
            say("FAILED on the way to a beginning: \(error)")
            return 1
        }
        for (place, root) in roots.enumerated() {
            let begun = secondsNow()
            // What one search leaves of its time is the next one's.
            let end = begun + (started + seconds - begun) / Double(roots.count - place)
            var search = Search(from: root.cluster)
            let outcome = search.run(states: states) { secondsNow() > end }
            total += outcome.states
            let time = secondsNow() - begun
            let words = outcome.isExhausted ? "all within the bounds" : outcome.found == nil ? "not exhausted" : "stopped"
            say(
                "\(root.name): \(outcome.states) states, \(outcome.steps) steps, depth \(outcome.depth), \(words), \((time * 10).rounded() / 10) s"
            )
            if let found = outcome.found {
                say(found.path.joined(separator: "\n"))
                say("FAILED: \(found.broken)")
                return 1
            }
        }
        say("\(total) distinct states in \(((secondsNow() - started) * 10).rounded() / 10) s; everything held in all of them")
        if total < least {
            say("FAILED: \(least) states are the least")
            return 1
        }
        return 0
    }
}
