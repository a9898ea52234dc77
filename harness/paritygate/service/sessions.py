"""A browser that is logged in: a signed cookie that names a token by its hash; forms that only its pages can send."""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256

from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import Response

from paritygate.service.database import writing
from paritygate.service.tables import setting

COOKIE = "paritygate"
_NAME = "cookie_secret"


def signer(engine: Engine) -> str:
    """The secret that all servers of a database sign with: made by the first of them, whoever that is."""
    query = select(setting.c.value).where(setting.c.name == _NAME)
    with engine.connect() as connection:
        found = connection.execute(query).scalar()
    if found:
        return found
    try:
        with writing(engine).begin() as connection:
            connection.execute(setting.insert().values(name=_NAME, value=secrets.token_hex(32)))
    except IntegrityError:
        pass  # another server was first
    with engine.connect() as connection:
        return connection.execute(query).scalar_one()


@dataclass(frozen=True)
class Session:
    """`hash` is the token's, so that one that is revoked ends its sessions; `id` is drawn at each login."""

    hash: str
    id: str


class Sessions:
    """Makes and reads the cookie. Nothing of a session is stored."""

    def __init__(self, secret: str, age_s: float):
        self.age_s = int(age_s)
        self._key = sha256(f"form {secret}".encode()).digest()
        self._cookies = URLSafeTimedSerializer(secret, salt="session")

    def begin(self, response: Response, hash: str, secure: bool) -> None:
        text = self._cookies.dumps([hash, secrets.token_hex(8)])
        assert isinstance(text, str)
        response.set_cookie(COOKIE, text, max_age=self.age_s, path="/", secure=secure, httponly=True, samesite="strict")

    def end(self, response: Response) -> None:
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")

    def of(self, request: Request) -> Session | None:
        """None where there is no cookie, or none of ours, or one that is too old."""
        try:
            hash, id = self._cookies.loads(request.cookies.get(COOKIE, "")[:512], max_age=self.age_s)
            return Session(str(hash), str(id))
        except (BadData, ValueError, TypeError):
            return None

    def form_token(self, request: Request) -> str:
        """What a form of a page carries: of its session; of nobody's where nobody is logged in."""
        session = self.of(request)
        return hmac.new(self._key, (session.id if session else "").encode(), sha256).hexdigest()
