// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Serials as Perl agents see them, and as integers.

import Testing

@testable import CtrlExec

@Suite struct SerialTests {
    @Test(
        "N(s) is what a 0.12.2 agent computes",
        arguments: [
            ("", ""), ("02", "2"), ("0A", "a"), ("10", "a"), ("16", "10"), ("0x00ff", "ff"), ("DE:AD:BE:EF", "deadbeef"), ("12", "c"),
            ("nothex!", "nan"), ("serial=0A", "a"), ("00:00:00", "0"), ("0", "0"), ("00:10", "10"), ("0x", ""),
            ("750271216a6815cc2b6481cda0469d6b", "750271216a6815cc2b6481cda0469d6b"),
            ("340282366920938463463374607431768211455", "ffffffffffffffffffffffffffffffff"),
        ])
    func normalisation(_ text: String, _ expected: String) { #expect(SerialNumber.normalised(text) == expected) }

    @Test("two serials share one canonical text at a Perl agent, and none at ours") func notInjective() throws {
        let ordinary = try #require(SerialNumber(hexadecimal: "0a"))
        let dispatcher = try #require(SerialNumber(hexadecimal: "10"))
        #expect(SerialNumber.normalised(ordinary.hexadecimal) == SerialNumber.normalised(dispatcher.hexadecimal))
        let map = TrustedDispatchers(text: "10 disp-one\n")
        #expect(map[dispatcher]?.text == "disp-one")
        #expect(map[ordinary] == nil)
    }

    @Test(
        "N changes a serial of digits at every pass, so that such a dispatcher is refused for ever",
        arguments: ["16", "17", "18", "19", "20", "25", "32", "39", "40", "41", "48"])
    func notIdempotent(_ text: String) throws {
        let once = SerialNumber.normalised(text)
        #expect(SerialNumber.normalised(once) != once)
        #expect(try #require(SerialNumber(hexadecimal: text)).isStableUnderNormalisation == false)
    }

    @Test("a serial of ours survives any number of passes") func stable() throws {
        let serial = try #require(SerialNumber(bytes: [0x5c, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 16]))
        #expect(serial.isStableUnderNormalisation)
        let once = SerialNumber.normalised(serial.hexadecimal)
        #expect(once == serial.hexadecimal)
        #expect(SerialNumber.normalised(once) == once)
    }

    @Test("the map of 0.12.3 is read, edited and written as the original writes it") func map() throws {
        let head = "# ctrl-exec trusted dispatchers: <serial> <id>, one per line.\n# Managed by pairing - do not edit by hand.\n"
        var map = TrustedDispatchers(text: head + "4 disp-one\nc disp-one\ndeadbeef disp-one\nff disp-one\nnan disp-one\n")
        #expect(map.entries.count == 4)  // `nan` trusts nobody
        map.add(try #require(SerialNumber(notation: "0x00FF")), try #require(DispatcherID("disp-two")))
        map.remove(try #require(SerialNumber(notation: "DE:AD:BE:EF")))
        map.remove(try #require(SerialNumber(notation: "77")))
        #expect(map.text == head + "4 disp-one\nc disp-one\nff disp-two\n")
        #expect(TrustedDispatchers(text: map.text) == map)
    }

    @Test("malformed lines of the map are skipped, comments and white space ignored, a later line wins") func mapGrammar() {
        let map = TrustedDispatchers(text: "  # all\n\n 5C01\tdisp-one # ours\r\n5c01 disp-two extra\nzz disp\n5c02\n5c03 -bad\n0 zero\n")
        #expect(map.entries.map { "\($0.serial) \($0.dispatcher)" } == ["5c01 disp-two"])
        #expect(TrustedDispatchers(text: "").isEmpty)
    }

    @Test("revocations are understood in every notation, digits in both readings") func revoked() throws {
        let list = RevokedSerials(text: "# lost\n0x5C01\nserial=5c02\n5c:03\n100 # a hundred\nwhat?\n")
        for text in ["5c01", "5c02", "5c03", "100", "64"] { #expect(list.contains(try #require(SerialNumber(hexadecimal: text)))) }
        #expect(!list.contains(try #require(SerialNumber(hexadecimal: "5c04"))))
        #expect(list.malformedLines == [6])
        #expect(list.count == 5)
    }
}
