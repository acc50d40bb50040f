// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The space-time diagram of a run as one file that a browser shows by itself: members are columns, time goes downward.

import Consensus
import Glibc
import Simulation

enum PictureFile {
    static func text(of picture: Picture, seed: UInt64, end: TrueTime) -> String {
        func quoted(_ text: String) -> String {
            var out = "\""
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\"": out += "\\\""
                case "\\": out += "\\\\"
                // No text may end the script that it stands in.
                case "<": out += "\\u003c"
                case _ where scalar.value < 32: out += " "
                default: out.unicodeScalars.append(scalar)
                }
            }
            return out + "\""
        }
        func milliseconds(_ time: TrueTime) -> String {
            let microseconds = min(time, end + .seconds(1)).nanoseconds / 1_000
            let fraction = String(microseconds % 1_000)
            return "\(microseconds / 1_000)." + String(repeating: "0", count: 3 - fraction.utf8.count) + fraction
        }
        func bars(_ bars: [Picture.Bar]) -> String {
            "[" + bars.map { "[\($0.member),\(milliseconds($0.from)),\(milliseconds($0.to)),\(quoted($0.words))]" }.joined(separator: ",\n")
                + "]"
        }
        func mark(_ mark: Picture.Mark) -> String { "[\(mark.member ?? -1),\(milliseconds(mark.time)),\(quoted(mark.words))]" }
        let arrows = picture.arrows.map {
            "[\($0.from),\($0.to),\(milliseconds($0.sent)),\($0.arrives.map(milliseconds) ?? "null"),\(quoted($0.words))]"
        }
        let data = """
            {"seed":"\(seed)","end":\(milliseconds(end)),"members":[\(picture.members.map(quoted).joined(separator: ","))],
            "arrows":[\(arrows.joined(separator: ",\n"))],
            "marks":[\(picture.marks.map(mark).joined(separator: ",\n"))],
            "roles":\(bars(picture.roles)),
            "leases":\(bars(picture.leases)),
            "faults":\(bars(picture.faults)),
            "violation":\(picture.violation.map(mark) ?? "null")}
            """
        return page.replacing("@DATA@", with: data)
    }

    /// False if it cannot be written.
    static func write(_ text: String, to path: String) -> Bool {
        guard let file = fopen(path, "w") else { return false }
        defer { fclose(file) }
        let bytes = Array(text.utf8)
        return fwrite(bytes, 1, bytes.count, file) == bytes.count
    }

    private static let page = #"""
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8"><title>ced-sim</title>
        <style>
        body { font: 13px sans-serif; margin: 0; color: #222 }
        header { position: sticky; top: 0; background: #fff; border-bottom: 1px solid #999; padding: 6px 10px; z-index: 2 }
        header label { margin-right: 14px } input[type=text] { width: 16em } input[type=number] { width: 7em }
        #violation { color: #b00; font-weight: bold; margin-top: 4px }
        #names { position: relative; height: 18px; font-weight: bold } #names span { position: absolute; transform: translateX(-50%) }
        text { font: 10px sans-serif; fill: #333 } .lost { stroke-dasharray: 3 3 }
        </style></head><body>
        <header><div><label>seed <b id="seed"></b></label>
        <label>from (ms) <input id="from" type="number" step="50"></label><label>length (ms) <input id="span" type="number" step="50" min="10"></label>
        <label>filter <input id="filter" type="text" placeholder="words, or !words"></label>
        <label><input id="beats" type="checkbox"> heartbeats</label><label><input id="words" type="checkbox" checked> words</label>
        <button id="up">earlier</button> <button id="down">later</button> <button id="broken">to the end</button></div>
        <div>blue: leader, yellow: candidate, grey: follower, white: no process · green: lease · red shade: fault · dashed: lost</div>
        <div id="violation"></div><div id="names"></div></header>
        <svg id="svg" width="100%"></svg>
        <script>
        const data = @DATA@;
        const at = id => document.getElementById(id), ns = "http://www.w3.org/2000/svg";
        at("seed").textContent = data.seed;
        if (data.violation) at("violation").textContent = (data.violation[1] / 1000).toFixed(6) + " s: " + data.violation[2];
        const last = data.violation ? data.violation[1] : data.end;
        at("span").value = 1000; at("from").value = Math.max(0, Math.round(last - 900));
        function put(name, attributes, text) {
          const node = document.createElementNS(ns, name);
          for (const key in attributes) node.setAttribute(key, attributes[key]);
          if (text !== undefined) {
            const inner = name === "text" ? node : node.appendChild(document.createElementNS(ns, "title"));
            inner.textContent = text;
          }
          at("svg").appendChild(node);
        }
        function draw() {
          const svg = at("svg"); svg.textContent = "";
          const from = +at("from").value, span = Math.max(10, +at("span").value), to = from + span;
          const width = document.body.clientWidth, height = Math.max(600, Math.min(20000, span * 1.6));
          svg.setAttribute("height", height + 30);
          const count = data.members.length, x = m => 70 + (width - 90) * (m + 0.5) / count, y = t => 10 + (t - from) / span * height;
          const sees = (a, b) => b >= from && a <= to, clip = t => Math.max(from, Math.min(to, t));
          at("names").textContent = "";
          data.members.forEach((name, m) => {
            const node = at("names").appendChild(document.createElement("span")); node.textContent = name; node.style.left = x(m) + "px";
          });
          const bar = (b, left, wide, colour, opacity) => {
            if (sees(b[1], b[2])) put("rect", { x: x(b[0]) + left, width: wide, y: y(clip(b[1])), height: Math.max(1, y(clip(b[2])) - y(clip(b[1]))),
              fill: colour, "fill-opacity": opacity }, b[3] + ", " + b[1] + " to " + b[2] + " ms");
          };
          for (const b of data.faults) bar(b, -60, 120, "#e33", 0.13);
          for (const b of data.roles) {
            bar(b, -5, 10, b[3].startsWith("leader") ? "#36c" : b[3].includes("andidate") ? "#ec3" : "#bbb", 1);
            if (b[1] >= from && b[1] <= to) put("text", { x: x(b[0]) - 58, y: y(b[1]) + 9 }, b[3]);
          }
          for (const b of data.leases) bar(b, 7, 4, "#2a2", 0.9);
          for (const b of data.faults) if (b[1] >= from && b[1] <= to) put("text", { x: x(b[0]) - 58, y: y(b[1]) + 20, style: "fill:#b00" }, b[3]);
          const step = [1, 5, 10, 50, 100, 500, 1000, 5000].find(s => span / s <= 40) || 10000;
          for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
            put("line", { x1: 0, x2: width, y1: y(t), y2: y(t), stroke: "#eee" }); put("text", { x: 2, y: y(t) + 3 }, (t / 1000).toFixed(3) + " s");
          }
          let wanted = at("filter").value.trim().toLowerCase();
          const inverted = wanted.startsWith("!"); if (inverted) wanted = wanted.slice(1);
          const passes = words => !wanted || words.toLowerCase().includes(wanted) !== inverted;
          const colour = w => w.includes("vote") ? "#a3c" : w.includes("append") ? "#06a" : w.includes("forward") ? "#c60" : w.includes("timeout now") ? "#c00" : "#888";
          const shown = data.arrows.filter(a => sees(a[2], a[3] ?? a[2]) && passes(a[4]) && (at("beats").checked || !a[4].includes("heartbeat")));
          const speaks = at("words").checked && shown.length < 600;
          for (const [m, o, sent, arrives, words] of shown) {
            const end = arrives ?? sent + span * 0.012, part = arrives === null ? 0.25 : 1;
            const x1 = x(m), x2 = x(m) + (x(o) - x(m)) * part, y1 = y(sent), y2 = y(end);
            put("line", { x1, x2, y1, y2, stroke: colour(words), class: arrives === null ? "lost" : "" }, data.members[m] + " → " + data.members[o] + ": " + words
              + ", " + sent + (arrives === null ? " ms, lost" : " to " + arrives + " ms"));
            if (arrives !== null) put("circle", { cx: x2, cy: y2, r: 2, fill: colour(words) });
            if (speaks) put("text", { x: x1 + (x2 - x1) * 0.12 + (o > m ? 0 : -90), y: y1 + (y2 - y1) * 0.12 - 1, style: "fill:" + colour(words) }, words.slice(0, 40));
          }
          for (const [m, time, words] of data.marks) if (time >= from && time <= to && passes(words)) {
            put("circle", { cx: m < 0 ? 62 : x(m), cy: y(time), r: 3, fill: "#111" }, words);
            if (at("words").checked) put("text", { x: (m < 0 ? 62 : x(m)) + 14, y: y(time) + 3 }, words.slice(0, 90));
          }
          if (data.violation && data.violation[1] >= from && data.violation[1] <= to) {
            const v = data.violation, line = y(v[1]);
            put("line", { x1: 0, x2: width, y1: line, y2: line, stroke: "#b00", "stroke-width": 2 }, v[2]);
            put("text", { x: 70, y: line + 13, style: "fill:#b00;font-weight:bold" }, v[2].slice(0, 200));
          }
        }
        for (const id of ["from", "span", "filter", "beats", "words"]) at(id).addEventListener("input", draw);
        const move = part => { at("from").value = Math.max(0, +at("from").value + part * +at("span").value); draw(); };
        at("up").onclick = () => move(-0.8); at("down").onclick = () => move(0.8);
        at("broken").onclick = () => { at("from").value = Math.max(0, Math.round(last - 0.9 * +at("span").value)); draw(); };
        addEventListener("resize", draw); draw();
        </script></body></html>
        """#
}
