// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Calendar text, there and back.

import Testing

@testable import CtrlExec

@Suite struct TimeTests {
    @Test(
        "a certificate's end is written and read as openssl writes it",
        arguments: [
            (1_812_385_680 as Int64, "Jun  7 16:28:00 2027 GMT"), (0, "Jan  1 00:00:00 1970 GMT"),
            (951_782_400, "Feb 29 00:00:00 2000 GMT"),
            (4_107_542_399, "Feb 28 23:59:59 2100 GMT"), (4_107_542_400, "Mar  1 00:00:00 2100 GMT"), (-1, "Dec 31 23:59:59 1969 GMT"),
            (2_141_052_409, "Nov  5 16:46:49 2037 GMT"), (1_866_732_337, "Feb 25 16:45:37 2029 GMT"),
            (253_402_300_799, "Dec 31 23:59:59 9999 GMT"),
        ])
    func openssl(_ seconds: Int64, _ text: String) {
        #expect(OpenSSLTime.text(unixSeconds: seconds) == text)
        #expect(OpenSSLTime.unixSeconds(text) == seconds)
    }

    @Test(
        "a time stamp is written and read as ISO 8601",
        arguments: [(1_795_452_342 as Int64, "2026-11-23T16:45:42Z"), (951_868_799, "2000-02-29T23:59:59Z")])
    func iso(_ seconds: Int64, _ text: String) {
        #expect(ISO8601Time.text(unixSeconds: seconds) == text)
        #expect(ISO8601Time.unixSeconds(text) == seconds)
    }

    @Test("every day of 230 years goes there and back") func everyDay() {
        for day in Int64(-36_525)..<47_482 {
            let seconds = day * 86_400 + (day & 0xffff)
            #expect(ISO8601Time.unixSeconds(ISO8601Time.text(unixSeconds: seconds)) == seconds)
        }
    }

    @Test(
        "what is no time is refused",
        arguments: [
            "", "unknown", "Jun 31 16:28:00 2027 GMT", "Feb 29 00:00:00 2027 GMT", "jun  7 16:28:00 2027 GMT", "Jun  7 16:28:00 2027",
            "Jun  7 24:00:00 2027 GMT", "Jun  7 16:28 2027 GMT", "Jun  7 16:28:00 27 GMT",
        ])
    func refused(_ text: String) { #expect(OpenSSLTime.unixSeconds(text) == nil) }

    @Test("a zero-padded day is read too") func padded() { #expect(OpenSSLTime.unixSeconds("Jun 07 16:28:00 2027 GMT") == 1_812_385_680) }

    @Test(
        "half an ISO time is none",
        arguments: ["2026-11-23T16:45:42", "2026-11-23 16:45:42Z", "2026-13-01T00:00:00Z", "2026-+1-01T00:00:00Z"])
    func refusedISO(_ text: String) { #expect(ISO8601Time.unixSeconds(text) == nil) }
}
