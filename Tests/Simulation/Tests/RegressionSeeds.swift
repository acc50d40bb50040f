// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Seeds that ever failed, each with what it found. They stay, whatever the plan of faults makes of them later.

enum RegressionSeeds {
    static let all: [UInt64] = [
        1,  // a journal that trusted, after a failed synchronization, what it read back
        2,  // the same, where a segment ends
        10,  // a lease read at a leader whose own disk is behind the quorum's
        22,  // an answer to a forwarded request of an earlier process, under the same number
        100_720,  // a signature begun in the step that handed leadership over
        1_000_354,  // an agent that was told of an identity after its end, by a call that had been under way for two seconds
        1_000_375,  // a client that asked six removed machines for so long that the one member had no time to answer
        1_003_426,  // a signature dated in the step in which a calendar was heard of for the first time after a silence
        1_006_093,  // a machine that lived on when its power failed while somebody fetched its snapshot
        1_002_656,  // a member that the leader, left with half a ring for ever, could not reach, while the other one followed it
        1_006_030,  // an agent that was revoked, of which no member had an identity any more after sixteen rotations
    ]
}
