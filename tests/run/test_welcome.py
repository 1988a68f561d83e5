"""What the terminal shows once all is up."""

from __future__ import annotations

from pathlib import Path

from sublet_hub.credentials import Credentials
from sublet_hub.run.up import welcome
from sublet_hub.settings import load_settings

CREDENTIALS = Credentials.generate("admin")


def test_it_shows_the_address_the_passwords_and_how_to_stop(tmp_path: Path) -> None:
    text = welcome(load_settings({"SUBLET_DATA": str(tmp_path), "SUBLET_PORT": "9000"}), CREDENTIALS)
    for needed in ("http://127.0.0.1:9000", CREDENTIALS.admin_password, CREDENTIALS.user_password, "Ctrl-C stops"):
        assert needed in text


def test_with_another_authenticator_it_shows_no_password_that_is_of_no_use(tmp_path: Path) -> None:
    text = welcome(load_settings({"SUBLET_DATA": str(tmp_path), "SUBLET_AUTHENTICATOR": "github"}), CREDENTIALS)
    assert "github" in text
    assert CREDENTIALS.admin_password not in text
    assert CREDENTIALS.user_password not in text
