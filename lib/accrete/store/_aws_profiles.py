"""AWS's files of profiles, as its tools read them, and the commands that profiles name.

Why not minio's AWSConfigProvider: it reads one of the two files, expands `%` in values (and repeats
them where that fails), and knows neither `credential_process` nor SSO. Source:
docs.aws.amazon.com/sdkref/latest/guide, pages `file-format` and `feature-process-credentials`.
"""

import configparser
import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accrete.errors import ConfigError, StoreAccessError

_PROCESS_TIMEOUT_S = 120
_KEYS = ("aws_access_key_id", "aws_secret_access_key")
_OF_CREDENTIALS = (
    *(*_KEYS, "credential_process", "role_arn", "web_identity_token_file"),
    *("sso_session", "sso_start_url", "login_session"),
)
"""Settings of which each is a way to credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFiles:
    """Where profiles are."""

    credentials: Path
    """File of keys: a section is a profile."""
    config: Path
    """File of settings: a section is `default`, `profile NAME`, or something else."""

    @property
    def shown(self) -> str:
        """Both, for messages."""
        return f"{short(self.credentials)} nor {short(self.config)}"


def short(path: Path) -> str:
    """Return a path for messages, the home folder as people write it."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)


def profiles_in(files: ProfileFiles) -> dict[str, dict[str, str]]:
    """Return the settings of every profile; those of the file of keys count more.

    Raises:
        ConfigError: a file that is there cannot be read; does not repeat what it holds.
    """
    found: dict[str, dict[str, str]] = {}
    for title, section in _sections(files.config).items():
        if title == "default":
            found["default"] = dict(section)
        elif title.startswith(("profile ", "profile\t")):
            found[_unquoted(title[len("profile") :])] = dict(section)
    for title, section in _sections(files.credentials).items():
        found.setdefault(title, {}).update(section)
    return found


def has_credentials(profile: Mapping[str, str]) -> bool:
    """Return whether a profile names a way to credentials: many say a region alone."""
    return any(profile.get(name) for name in _OF_CREDENTIALS)


def has_keys(profile: Mapping[str, str]) -> bool:
    """Return whether a profile holds keys themselves, of which none may be missing.

    Raises:
        ConfigError: it has one of two.
    """
    given = [name for name in _KEYS if profile.get(name)]
    if len(given) == 1:
        missing = next(name for name in _KEYS if name not in given)
        raise ConfigError(f"it has {given[0]} but no {missing}: give both")
    return bool(given)


def _unquoted(title: str) -> str:
    try:
        return " ".join(shlex.split(title))
    except ValueError:
        return title.strip()


def _sections(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Return what a file has; nothing where there is none."""
    parser = configparser.RawConfigParser(default_section="", strict=False)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{short(path)} cannot be read ({error.strerror})") from error
    except ValueError:
        raise ConfigError(f"{short(path)} cannot be read: it is no text in UTF-8") from None
    try:
        parser.read_string(text)
    except configparser.ParsingError as error:  # its text repeats lines, and they may be secrets
        line = getattr(error, "lineno", None) or (error.errors[0][0] if error.errors else 1)
        raise ConfigError(
            f"{short(path)} cannot be read: line {line} is neither [profile] nor name = value"
        ) from None
    except configparser.Error:
        raise ConfigError(f"{short(path)} cannot be read as a file of profiles") from None
    return {title: dict(parser.items(title)) for title in parser.sections()}


def command_of(name: str, profile: Mapping[str, str]) -> list[str]:
    """Return the command that gives a profile's credentials.

    That is its `credential_process`, without a shell as AWS's tools run it; for SSO, and for a role
    that another profile may take, AWS's own command.

    Args:
        name: of the profile.
        profile: its settings.

    Raises:
        ConfigError: there is no such command.
    """
    process = profile.get("credential_process")
    if process and not (profile.get("role_arn") or _is_sso(profile)):
        try:
            command = shlex.split(process)
        except ValueError:
            command = []
        if not command or shutil.which(command[0]) is None:
            program = f"{command[0]}, which is not here" if command else "no command"
            raise ConfigError(f"its credential_process is {program}: name a program that is")
        return command
    if shutil.which("aws") is None:
        kind = "SSO" if _is_sso(profile) else "a role" if profile.get("role_arn") else "a login"
        raise ConfigError(
            f"it has {kind}, for which AWS's command is needed and not here: install `aws` "
            "(version 2), or give the profile a credential_process"
        )
    return ["aws", "configure", "export-credentials", "--profile", name, "--format", "process"]


def _is_sso(profile: Mapping[str, str]) -> bool:
    return bool(profile.get("sso_session") or profile.get("sso_start_url"))


def run_process(command: list[str], name: str, profile: Mapping[str, str]) -> dict[str, Any]:
    """Return what a profile's command says: AccessKeyId, SecretAccessKey and so on.

    What it writes beside that is dropped: it may hold anything.

    Raises:
        StoreAccessError: it fails or says something else.
    """
    again = f": log in with `aws sso login --profile {name}`" if _is_sso(profile) else ""
    program = f"its command {Path(command[0]).name}"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=_PROCESS_TIMEOUT_S, check=False,
        )  # fmt: skip
    except OSError as error:
        raise StoreAccessError(f"{program} cannot be run ({error.strerror})") from None
    except subprocess.TimeoutExpired:
        raise StoreAccessError(f"{program} did not end within {_PROCESS_TIMEOUT_S} s") from None
    if done.returncode:
        hint = again or ": run it by hand to see why"
        raise StoreAccessError(f"{program} ended with {done.returncode}{hint}")
    try:
        said = json.loads(done.stdout)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("Version") != 1:
        raise StoreAccessError(f"{program} did not print credentials as JSON of version 1{again}")
    return said


def expiration_of(text: object) -> datetime | None:
    """Return when credentials end, None where they do not.

    Raises:
        ValueError: the text is no time of ISO 8601.
    """
    if not text:
        return None
    time = datetime.fromisoformat(str(text))
    return time if time.tzinfo else time.replace(tzinfo=UTC)
