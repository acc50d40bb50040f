// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The projected files follow the applied state, on a thread of their own: nothing that a file system does keeps an entry from being
// applied. What comes close together is written together; what fails is tried again, at longer and longer intervals, and never ends the
// member, which serves from its applied state and reads none of these files.
//
// When to begin is the member's to say: with its first change, once it has caught up. Until then the files of its last run stand.

import Consensus
import CtrlExec
import DispatcherState
import Logging
import NIOCore
import PKI
import Platform
import Synchronization

final class Projector: Sendable {
    struct Intervals: Sendable {
        /// What comes within this span is written together.
        var coalescing = TimeAmount.milliseconds(100)
        /// How often it is looked whether another hand has changed something.
        var inspection = TimeAmount.seconds(5)
        /// What follows from the calendar alone shows after so long at the latest.
        var rebuilding = TimeAmount.seconds(3_600)
        var firstPause = TimeAmount.seconds(1)
        var longestPause = TimeAmount.seconds(60)
        init() {}
    }

    /// How it is, for the status.
    struct Report: Hashable, Sendable {
        var problem: String?
        var kept: [String]
    }

    /// Parts that are noted one by one; more are everything.
    private static let partsLimit = 1_000

    private struct Pending {
        private var isEverything = false
        private var parts: Set<ProjectedPart> = []
        var isEmpty: Bool { !isEverything && parts.isEmpty }

        mutating func add(_ change: ProjectionChange) {
            switch change {
            case .everything: isEverything = true
            case .parts(let new):
                guard !isEverything else { return }
                parts.formUnion(new)
                isEverything = parts.count > Projector.partsLimit
            }
            if isEverything { parts = [] }
        }

        mutating func take() -> ProjectionChange? {
            defer { self = Pending() }
            return isEmpty ? nil : isEverything ? .everything : .parts(Array(parts))
        }
    }

    /// Touched on the loop only.
    private final class Desk {
        var writer: ProjectionWriter
        var isBusy = false
        var hasBegun = false
        var timer: Scheduled<Void>?
        var pause: TimeAmount
        var isFailing = false
        var inspections: RepeatedTask?
        var rebuildings: RepeatedTask?
        var isClosed = false
        var closing: [CheckedContinuation<Void, Never>] = []
        init(writer: ProjectionWriter, pause: TimeAmount) {
            self.writer = writer
            self.pause = pause
        }

        func endClosing() {
            for continuation in closing { continuation.resume() }
            closing = []
        }
    }

    private let loop: any EventLoop
    private let intervals: Intervals
    private let pending = Mutex(Pending())
    private let desk: NIOLoopBoundBox<Desk>
    private let state: @Sendable () async -> DispatcherState
    private let key: (@Sendable (SerialNumber) throws -> PrivateKey)?
    private let calendar: @Sendable () -> WallClock
    private let report: @Sendable (Report) -> Void

    /// - Parameters:
    ///   - loop: of nobody else who minds being blocked by a file system.
    ///   - state: what is applied now.
    ///   - key: the private key of an identity, if keys are projected.
    ///   - report: told after each pass that changed how it is; on the loop.
    init(
        writer: consuming sending ProjectionWriter, loop: any EventLoop, intervals: Intervals = Intervals(),
        state: @escaping @Sendable () async -> DispatcherState, key: (@Sendable (SerialNumber) throws -> PrivateKey)?,
        calendar: @escaping @Sendable () -> WallClock, report: @escaping @Sendable (Report) -> Void
    ) {
        self.loop = loop
        self.intervals = intervals
        self.state = state
        self.key = key
        self.calendar = calendar
        self.report = report
        desk = NIOLoopBoundBox.makeBoxSendingValue(Desk(writer: writer, pause: intervals.firstPause), eventLoop: loop)
    }

    /// What follows from an entry; returns at once, on any thread.
    func note(_ change: ProjectionChange) {
        let isFirst = pending.withLock { pending in
            defer { pending.add(change) }
            return pending.isEmpty
        }
        if isFirst { loop.execute { self.plan(after: self.intervals.coalescing) } }
    }

    /// Returns once nothing is being written. What is left is for the next start.
    func close() async {
        await withCheckedContinuation { continuation in
            loop.execute {
                let desk = self.desk.value
                desk.timer?.cancel()
                desk.inspections?.cancel()
                desk.rebuildings?.cancel()
                desk.isClosed = true
                desk.closing.append(continuation)
                if !desk.isBusy { desk.endClosing() }
            }
        }
    }

    // MARK: On the loop

    private func plan(after span: TimeAmount) {
        let desk = desk.value
        guard !desk.isBusy, !desk.isClosed, desk.timer == nil else { return }
        desk.timer = loop.scheduleTask(in: span) {
            self.desk.value.timer = nil
            self.fetch()
        }
    }

    private func fetch() {
        let desk = desk.value
        guard !desk.isBusy, !desk.isClosed else { return }
        desk.isBusy = true
        // First what was noted, then the state, which is at least as new; what is noted meanwhile may be newer, and is for the next time.
        let change = pending.withLock { $0.take() }
        Task {
            let state = await self.state()
            self.loop.execute { self.work(change, on: state) }
        }
    }

    private func work(_ change: ProjectionChange?, on state: DispatcherState) {
        let desk = desk.value
        let problem = change.flatMap { write($0, state, desk) }
        desk.isBusy = false
        if desk.isClosed { return desk.endClosing() }
        if !desk.hasBegun { begin(desk) }
        report(Report(problem: problem, kept: desk.writer.kept))
        guard problem != nil else {
            (desk.isFailing, desk.pause) = (false, intervals.firstPause)
            if pending.withLock({ !$0.isEmpty }) { plan(after: intervals.coalescing) }
            return
        }
        desk.isFailing = true
        pending.withLock { $0.add(.everything) }
        plan(after: desk.pause)
        desk.pause = min(desk.pause * 2, intervals.longestPause)
    }

    private func write(_ change: ProjectionChange, _ state: DispatcherState, _ desk: Desk) -> String? {
        let now = calendar()
        var keyProblem: String?
        func keyFile() -> ProjectedFile? {
            guard let key, let serial = state.currentIdentity?.serial else { return nil }
            do {
                return ProjectedFile(path: .dispatcherKey, content: try key(serial).pem, mode: 0o600)
            } catch {
                keyProblem = "the key of \(serial) cannot be projected: \(error)"
                return nil
            }
        }
        let problem: String?
        switch change {
        case .everything:
            problem = desk.writer.rebuild(state.projection(now: now) + (keyFile().map { [$0] } ?? []), now: now)
        case .parts(let parts):
            var states = parts.flatMap { state.projection(of: $0, now: now) }
            if parts.contains(.certificates), let file = keyFile() { states.append(.file(file)) }
            problem = desk.writer.update(states, now: now)
        }
        return problem ?? keyProblem
    }

    /// Once the first files are written.
    private func begin(_ desk: Desk) {
        desk.hasBegun = true
        desk.inspections = loop.scheduleRepeatedTask(initialDelay: intervals.inspection, delay: intervals.inspection) { _ in
            let desk = self.desk.value
            // Where something fails, everything is looked at again anyhow.
            guard !desk.isBusy, !desk.isFailing else { return }
            let kept = desk.writer.kept
            if desk.writer.isDisturbed() { self.note(.everything) }
            if desk.writer.kept != kept { self.report(Report(problem: nil, kept: desk.writer.kept)) }
        }
        desk.rebuildings = loop.scheduleRepeatedTask(initialDelay: intervals.rebuilding, delay: intervals.rebuilding) { _ in
            self.note(.everything)
        }
    }
}
