"""Where a database is: a file, or a PostgreSQL server. For everybody, without SQLAlchemy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from perfctl.errors import UsageError
from perfctl.redaction import register

POSTGRESQL_SCHEMES = ("postgresql+psycopg", "postgresql")
_SCHEMES = "a path, sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE"
WAYS_OF_PASSWORDS = (
    "the password has three places: PGPASSWORD (or the whole URL in PERFCTL_DB_URL) in the environment,"
    " ~/.pgpass, or a file of that form that PGPASSFILE names"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A database on a PostgreSQL server. What the URL leaves out is libpq's to find (PGHOST, PGUSER, ...)."""

    host: str | None
    port: int | None
    user: str | None
    password: str | None
    database: str | None
    options: tuple[tuple[str, str], ...]
    """Further parameters of libpq, such as sslmode."""

    def __str__(self) -> str:
        """Return the URL without its password."""
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        port = "" if self.port is None else f":{self.port}"
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        options = f"?{urlencode(self.options)}" if self.options else ""
        return f"postgresql+psycopg://{user}{host}{port}/{quote(self.database or '', safe='')}{options}"

    def __repr__(self) -> str:
        return f"Server({self})"


Location = Path | Server


def location_of(url_or_path: str | os.PathLike[str]) -> Location:
    """Return the place that a path or a URL names. Raises UsageError for a URL of another kind.

    A password in it is kept out of all that is printed or stored from now on.
    """
    text = os.fspath(url_or_path)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return Path(rest[1:])
    if scheme not in POSTGRESQL_SCHEMES:
        raise UsageError(f"cannot use the database {scheme}://...", hint=f"give {_SCHEMES}")
    return _server_of(text)


def _server_of(url: str) -> Server:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        # The message of a wrong URL may quote what is a password.
        raise UsageError("the database's URL is no URL", hint=f"give {_SCHEMES}") from error.with_traceback(
            None
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    password = options.pop("password", None) or (None if parts.password is None else unquote(parts.password))
    register("PERFCTL_DB_URL", password)
    return Server(
        host=parts.hostname,
        port=port,
        user=None if parts.username is None else unquote(parts.username),
        password=password,
        database=unquote(parts.path.lstrip("/")) or None,
        options=tuple(options.items()),
    )


def refuse_password(url_or_path: str, where: str) -> None:
    """Raise UsageError for a URL with a password in a place that others read, such as the command line."""
    if "://" not in url_or_path:
        return
    location = location_of(url_or_path)
    if isinstance(location, Server) and location.password is not None:
        raise UsageError(
            f"a password in {where} is read by others: they see command lines and files",
            where=str(location),
            hint=WAYS_OF_PASSWORDS,
        )
