// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `POST /renew` and `POST /renew-complete` (protocol page, 6.7, 6.8). Neither is behind the map, as in the original: what they give is
// public, and what they take must carry our own key and our CA's signature.

import CtrlExec
import PKI
import Transport

extension AgentService {
    func renew(_ request: AgentRequest, _ snapshot: AgentState.Snapshot) -> AgentAnswer {
        let reqid = AgentJSON.decodeIfPossible(RenewRequest.self, request.body)?.reqid ?? ""
        do {
            let csr = try CertificateRequest.make(key: snapshot.identity.key, commonName: host)
            let pem = String(decoding: try csr.pem, as: UTF8.self)
            log.info("renew", ("STATUS", "csr-generated"), ("PEER", request.address), ("REQID", reqid))
            return AgentAnswer(200, RenewAnswer.request(pem, reqid: reqid))
        } catch {
            log.error("renew", ("STATUS", "failed"), ("ERROR", "\(error)"), ("REQID", reqid))
            return AgentAnswer(200, RenewAnswer.failed(AgentErrors.couldNotMakeRequest))
        }
    }

    func completeRenewal(_ request: AgentRequest) -> AgentAnswer {
        let asked = AgentJSON.decodeIfPossible(RenewCompleteRequest.self, request.body) ?? RenewCompleteRequest(cert: "", ca: "", reqid: "")
        do {
            try StagedCertificate(state.configuration).stage(asked.cert, nowSeconds: now())
        } catch {
            log.warning("renew-complete", ("STATUS", "refused"), ("ERROR", error.text), ("PEER", request.address), ("REQID", asked.reqid))
            return AgentAnswer(200, RenewAnswer.failed(error.text))
        }
        log.info("renew-complete", ("STATUS", "cert-staged"), ("PEER", request.address), ("REQID", asked.reqid))
        return AgentAnswer(200, RenewAnswer.staged(reqid: asked.reqid))
    }
}
