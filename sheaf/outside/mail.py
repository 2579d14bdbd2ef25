"""Telling people something by mail, over SMTP.

One letter to one address, so that each reader hears of everything once and nobody's mailbox holds up another's. The
password is in the environment only; neither it nor what the server answered is shown. Here: how a letter is sent. Not
here: what it says, and when it is tried again (`sheaf/telling`).
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sheaf.errors import SheafError
from sheaf.outside.addresses import MailAddress

if TYPE_CHECKING:
    from smtplib import SMTP

PASSWORD = "SHEAF_MAIL_PASSWORD"  # noqa: S105  # the variable that holds it

_TIMEOUT_S = 10.0


class MailError(SheafError):
    """The mail server did not take a letter."""


class Security(StrEnum):
    """How a connection to a mail server is kept private."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class MailServer(BaseModel):
    """A server that sends letters.

    Attributes:
        host: its name.
        port: its port; most have 587 for `starttls`, 465 for `tls`, 25 for `none`.
        security: `starttls` or `tls`; `none` only for a server that asks for no login.
        user: the name to log in with, if any; its password is `SHEAF_MAIL_PASSWORD`.
        sender: the address that letters are from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1)
    port: int = Field(default=587, ge=1, le=65535)
    security: Security = Security.STARTTLS
    user: str | None = None
    sender: MailAddress

    @model_validator(mode="after")
    def _login_is_private(self) -> "MailServer":
        if self.user and self.security is Security.NONE:
            raise ValueError("a login needs `security: starttls` or `tls`: without, everybody on the way reads it")
        return self


def send(server: MailServer, to: str, subject: str, text: str, at: datetime) -> None:
    """Hand one letter to the mail server.

    The same letter has the same `Message-ID` in each try, so that who gets it twice can see that.

    Args:
        at: when what it tells happened.

    Raises:
        MailError: the server cannot be reached, or refuses login, sender or receiver.
    """
    from email.message import EmailMessage
    from email.utils import format_datetime

    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = server.sender, to, " ".join(subject.split())
    letter["Date"] = format_datetime(at)
    name = hashlib.sha256("\n".join((to, subject, text)).encode()).hexdigest()[:32]
    letter["Message-ID"] = f"<{name}@{server.sender.rpartition('@')[2]}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(text)
    with _connected(server) as connection:
        connection.send_message(letter, server.sender, [to])


def check(server: MailServer) -> str:
    """Whether a mail server answers and takes the login, as a clause.

    Raises:
        MailError: it does not.
    """
    with _connected(server) as connection:
        connection.noop()
    return f"{server.host}:{server.port} answers"


@contextmanager
def _connected(server: MailServer) -> Iterator["SMTP"]:
    import smtplib
    import ssl

    password = os.environ.get(PASSWORD)
    if server.user and not password:
        raise MailError(f"mail.user is set, but no password for it: set {PASSWORD}.")
    context = ssl.create_default_context()
    try:
        if server.security is Security.TLS:
            connection = smtplib.SMTP_SSL(server.host, server.port, timeout=_TIMEOUT_S, context=context)
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_S)
        with connection:
            if server.security is Security.STARTTLS:
                connection.starttls(context=context)
            if server.user and password:
                connection.login(server.user, password)
            yield connection
    except (OSError, ValueError) as error:  # `ValueError`: a password that is not ASCII
        raise MailError(f"The mail server {server.host}:{server.port} {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    """What went wrong, without what the server wrote: that may repeat what it was told."""
    import smtplib
    import ssl

    match error:
        case smtplib.SMTPRecipientsRefused():
            return f"refused the receiver with status {next(iter(error.recipients.values()))[0]}"
        case smtplib.SMTPAuthenticationError():
            return f"refused the login with status {error.smtp_code}"
        case smtplib.SMTPNotSupportedError():
            return "does not offer what mail.security and mail.user ask for"
        case smtplib.SMTPResponseException():
            return f"refused the letter with status {error.smtp_code}"
        case ssl.SSLError():
            return f"cannot be talked to in private ({error.reason or 'no TLS'})"
        case smtplib.SMTPException() | ValueError():
            return f"did not take the letter ({type(error).__name__})"
        case _:
            return f"cannot be reached ({getattr(error, 'strerror', None) or type(error).__name__})"
