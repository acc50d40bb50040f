// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// 7445 for programs, as OpenAPI 3. A test compares its paths with the route table.

import AgentLink
import CtrlExec

enum OpenAPIDocument {
    /// `/openapi.json`.
    static func document(version: String) -> JSONValue { base.with(["info": information(version)]) }

    /// `/openapi-live.json`: the hosts and scripts that there are as enumerations, and each script's schemas.
    ///
    /// - Parameter epoch: seconds since 1970, which make each answer a version of its own.
    static func live(version: String, epoch: Int64, hosts: [String], scripts: [LiveScript]) -> JSONValue {
        let names = JSONValue.object(members: scripts.map { JSONValue.Member($0.name, .null) })
        var byName: [JSONValue.Member] = []
        var listed: [JSONValue] = []
        if case .object(let members) = names {
            listed = members.map { .text($0.key) }
            byName = members.map { member in
                JSONValue.Member(
                    member.key,
                    .array(
                        scripts.filter { $0.name == member.key }.map {
                            .record(["hosts": .array($0.hosts.map { .text($0) }), "schema_version": $0.version, "schema": $0.schema])
                        }))
            }
        }
        let host = JSONValue.record(["type": .text("string"), "enum": .array(hosts.map { .text($0) })])
        let script = JSONValue.record(["type": .text("string"), "enum": .array(listed)])
        let components = base["components"] ?? .object([])
        let schemas = (components["schemas"] ?? .object([])).with([
            // An enumeration of nothing would allow nothing.
            "Host": hosts.isEmpty ? components["schemas"]?["Host"] : host,
            "Script": listed.isEmpty ? components["schemas"]?["Script"] : script,
        ])
        return document(version: "\(version)+\(epoch)").with([
            "components": components.with(["schemas": schemas]), "x-ctrl-exec-scripts": .object(byName),
        ])
    }

    private static func information(_ version: String) -> JSONValue {
        .record([
            "title": .text("ctrl-exec-api"), "version": .text(version),
            "description": .text("Runs allow-listed scripts on agents. Every request but health passes the dispatcher's auth hook."),
        ])
    }

    /// Without its version. A text that is no JSON would show in every test of this file.
    private static let base = JSONValue(bytes: Array(text.utf8)) ?? .object([])

    private static let text = #"""
        {
          "openapi": "3.0.3",
          "security": [{}, {"token": []}],
          "paths": {
            "/": {"get": {"summary": "The routes", "responses": {
              "200": {"description": "name, version, spec, live_spec, endpoints"}, "403": {"$ref": "#/components/responses/Denied"}}}},
            "/health": {"get": {"summary": "Whether the process answers", "security": [{}], "responses": {
              "200": {"description": "It does"}}}},
            "/ready": {"get": {"summary": "Whether this member may serve", "security": [{}], "responses": {
              "200": {"description": "It may"}, "503": {"description": "It has not heard from a leader"}}}},
            "/leader": {"get": {"summary": "Whether this member leads", "security": [{}], "responses": {
              "200": {"description": "It does"}, "503": {"description": "It does not"}}}},
            "/openapi.json": {"get": {"summary": "This document", "responses": {
              "200": {"description": "OpenAPI 3"}, "403": {"$ref": "#/components/responses/Denied"}}}},
            "/openapi-live.json": {"get": {"summary": "This document with the hosts and scripts that there are", "responses": {
              "200": {"description": "OpenAPI 3, with x-ctrl-exec-scripts"}, "403": {"$ref": "#/components/responses/Denied"}}}},
            "/ping": {"post": {"summary": "Whether agents answer",
              "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ping"}}}},
              "responses": {
                "200": {"description": "One result a host, in the order of the hosts", "content": {"application/json": {"schema": {
                  "type": "object", "properties": {"ok": {"type": "boolean"}, "results": {"type": "array", "items": {"type": "object"}}}}}}},
                "400": {"$ref": "#/components/responses/Bad"}, "403": {"$ref": "#/components/responses/Denied"},
                "404": {"$ref": "#/components/responses/UnknownAgent"}, "503": {"$ref": "#/components/responses/Unavailable"}}}},
            "/run": {"post": {"summary": "Runs a script on agents",
              "description": "Never repeated by itself. How each host fared is in its result: exit, stdout, stderr, or error.",
              "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Run"}}}},
              "responses": {
                "200": {"description": "It ended on every host that could be reached", "content": {"application/json": {"schema": {
                  "$ref": "#/components/schemas/Dispatched"}}}},
                "202": {"description": "It was started; ask /status/{reqid}", "content": {"application/json": {"schema": {
                  "$ref": "#/components/schemas/Dispatched"}}}},
                "400": {"$ref": "#/components/responses/Bad"}, "403": {"$ref": "#/components/responses/Denied"},
                "404": {"$ref": "#/components/responses/UnknownAgent"}, "503": {"$ref": "#/components/responses/Unavailable"}}}},
            "/discovery": {
              "get": {"summary": "Scripts and tags of all agents", "responses": {
                "200": {"$ref": "#/components/responses/Discovered"}, "400": {"$ref": "#/components/responses/Bad"},
                "403": {"$ref": "#/components/responses/Denied"}, "503": {"$ref": "#/components/responses/Unavailable"}}},
              "post": {"summary": "Scripts and tags of these agents, or of all",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Discovery"}}}},
                "responses": {
                  "200": {"$ref": "#/components/responses/Discovered"}, "400": {"$ref": "#/components/responses/Bad"},
                  "403": {"$ref": "#/components/responses/Denied"}, "404": {"$ref": "#/components/responses/UnknownAgent"},
                  "503": {"$ref": "#/components/responses/Unavailable"}}}},
            "/status/{reqid}": {"get": {"summary": "What became of a run of the last 24 hours, asked of any member",
              "description": "A token for the hook comes as Authorization: Bearer. Who may not see the run is answered 404.",
              "parameters": [{"name": "reqid", "in": "path", "required": true, "schema": {"type": "string", "pattern": "^[a-f0-9]+$"}}],
              "responses": {
                "200": {"description": "The record, as far as its agents have answered", "content": {"application/json": {"schema": {
                  "$ref": "#/components/schemas/Record"}}}},
                "403": {"$ref": "#/components/responses/Denied"},
                "404": {"description": "No member has a record of it", "content": {"application/json": {"schema": {
                  "$ref": "#/components/schemas/Error"}}}},
                "503": {"description": "Nobody who answered has it, and members that did not answer may", "content": {"application/json": {
                  "schema": {"$ref": "#/components/schemas/Error"}}}}}}}
          },
          "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "Passed to the hook"}},
            "responses": {
              "Bad": {"description": "What must be changed is in detail", "content": {"application/json": {"schema": {
                "$ref": "#/components/schemas/Error"}}}},
              "Denied": {"description": "The hook's reason and its exit code", "content": {"application/json": {"schema": {
                "$ref": "#/components/schemas/Error"}}}},
              "UnknownAgent": {"description": "A host is no registered agent; nothing was dialled", "content": {"application/json": {
                "schema": {"$ref": "#/components/schemas/Error"}}}},
              "Unavailable": {"description": "Too many concurrent requests, or not ready", "content": {"application/json": {"schema": {
                "$ref": "#/components/schemas/Error"}}}},
              "Discovered": {"description": "By host: scripts, tags, version, or error", "content": {"application/json": {"schema": {
                "type": "object", "properties": {"ok": {"type": "boolean"}, "hosts": {"type": "object",
                  "additionalProperties": {"type": "object"}}}}}}}
            },
            "schemas": {
              "Host": {"type": "string", "description": "A registered agent, with :PORT if it is not the registered one"},
              "Script": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
              "Ping": {"type": "object", "required": ["hosts"], "properties": {
                "hosts": {"type": "array", "minItems": 1, "maxItems": 500, "items": {"$ref": "#/components/schemas/Host"}},
                "username": {"type": "string"}, "token": {"type": "string"}}},
              "Run": {"type": "object", "required": ["hosts", "script"], "properties": {
                "hosts": {"type": "array", "minItems": 1, "maxItems": 500, "items": {"$ref": "#/components/schemas/Host"}},
                "script": {"$ref": "#/components/schemas/Script"}, "args": {"type": "array", "items": {"type": "string"}},
                "username": {"type": "string"}, "token": {"type": "string"}, "async": {"type": "boolean"}}},
              "Discovery": {"type": "object", "properties": {
                "hosts": {"type": "array", "minItems": 1, "maxItems": 500, "items": {"$ref": "#/components/schemas/Host"}},
                "username": {"type": "string"}, "token": {"type": "string"}}},
              "Dispatched": {"type": "object", "properties": {"ok": {"type": "boolean"}, "reqid": {"type": "string"},
                "async": {"type": "boolean"}, "results": {"type": "array", "items": {"type": "object"}}}},
              "Record": {"type": "object", "properties": {"ok": {"type": "boolean"}, "reqid": {"type": "string"},
                "script": {"$ref": "#/components/schemas/Script"}, "mode": {"type": "string", "enum": ["sync", "async"]},
                "complete": {"type": "boolean"}, "results": {"type": "array", "items": {"type": "object"}},
                "hosts": {"description": "sync: their names; async: by name status, exit, stdout, stderr, error, fetch_error"},
                "pending": {"type": "array", "items": {"type": "string"}}, "created": {"type": "integer"},
                "completed": {"type": "integer"}}},
              "Error": {"type": "object", "required": ["ok", "error"], "properties": {"ok": {"type": "boolean"},
                "error": {"type": "string"}, "detail": {"type": "string"}, "code": {"type": "integer"}}}
            }
          }
        }
        """#
}
