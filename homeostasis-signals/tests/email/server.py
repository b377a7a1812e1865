"""A mail server (aiosmtpd) that writes each mail it takes as a line of JSON.

Arguments: port, file of the mails, then `certificate key user password` if it asks for them.
"""
import email, email.policy, json, ssl, sys, threading
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

class Box:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone"):
            return "550 no such user"
        if address.startswith("busy"):
            return "451 try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "body": mail.get_content(),
            "secure": session.ssl is not None,
            "longest": max(len(line) for line in envelope.content.split(b"\r\n")),
            "defects": [str(defect) for defect in mail.defects],
        }
        with open(sys.argv[2], "a") as mails:
            mails.write(json.dumps(told) + "\n")
        return "250 OK"

def authenticate(server, session, envelope, mechanism, data):
    known = mechanism == "PLAIN" and [data.login, data.password] == [it.encode() for it in sys.argv[5:7]]
    return AuthResult(success=known, handled=known)

options = {}
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    options = {
        "tls_context": context,
        "require_starttls": True,
        "auth_required": True,
        "authenticator": authenticate,
    }
Controller(Box(), hostname="127.0.0.1", port=int(sys.argv[1]), **options).start()
threading.Event().wait()
