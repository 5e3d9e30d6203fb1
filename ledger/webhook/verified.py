"""A request of Twilio's, once its signature is known to be Twilio's: its parameters.

Nothing is read into meaning before. Never records and never answers.
"""

from typing import Final

from aiohttp import hdrs, web

from ledger.errors import InvalidSignature, UnsupportedMediaType
from ledger.webhook.parse import first, parse_form, parse_json
from ledger.webhook.signature import Parameters, SignatureChecker, check_body_hash

SIGNATURE_HEADER: Final = "X-Twilio-Signature"


async def verified(checker: SignatureChecker, request: web.Request) -> Parameters:
    """The request's parameters.

    Raises:
        InvalidSignature: it is not Twilio's.
        UnsupportedMediaType: its body is neither a form nor JSON.
        InvalidRequest: its body is not the JSON that it should be.
    """
    signature = request.headers.get(SIGNATURE_HEADER)
    if signature is None:
        raise InvalidSignature(f"{SIGNATURE_HEADER} is missing")
    body = await request.read()
    signed: Parameters = ()
    if request.method != hdrs.METH_POST:
        parameters = parse_form(request.rel_url.raw_query_string)
    elif request.content_type == "application/x-www-form-urlencoded":
        signed = parameters = parse_form(body)
    elif request.content_type == "application/json":
        check_body_hash(request.raw_path, body)
        parameters = parse_json(body)
    else:
        raise UnsupportedMediaType(f"{request.content_type} is not read here")
    checker.check(
        account_sid=first(parameters, "AccountSid"),
        raw_path=request.raw_path,
        parameters=signed,
        signature=signature,
    )
    return parameters
