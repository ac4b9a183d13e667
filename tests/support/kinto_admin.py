"""kinto-admin as people use it: what they click, what they are told."""

import re
from pathlib import Path
from typing import Self

from playwright.sync_api import Browser, Locator, Page

from tests.support.servers import ROOT

BUILD = ROOT / "build" / "kinto-admin"  # which `make admin` fetches
TIMEOUT_MS = 15_000
WINDOW = {"width": 1180, "height": 820}

# An error of kinto-admin's own, whenever its login page is opened.
HARMLESS = "Client not configured."


class KintoAdmin:
    """One person who is logged in, in a window of their own. `server` is S's URL, with ``/v1``."""

    def __init__(self, browser: Browser, server: str, user: str, password: str) -> None:
        self.server = server
        self.errors: list[str] = []
        self.refused: list[str] = []
        self.asked: set[str] = set()
        self._context = browser.new_context(viewport=WINDOW)  # type: ignore[arg-type]
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))
        self.page.on("dialog", lambda dialog: dialog.accept())  # "Are you sure?"
        self._log_in(user, password)

    def close(self) -> None:
        self._context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _log_in(self, user: str, password: str) -> None:
        self.page.goto(f"{self.server}/admin/")
        self.page.get_by_label("Kinto Account Auth").click()
        self.page.get_by_label(re.compile("Username")).fill(user)
        self.page.get_by_label(re.compile("Password")).fill(password)
        self.page.get_by_role("button", name=re.compile("Sign in using Kinto Account Auth")).click()
        self.page.get_by_text("project_version").wait_for()

    # Where one is.

    def records(self, uri: str) -> None:
        self._go(uri, "records")
        self.page.get_by_role("heading", name="Records of").wait_for()

    def review(self, uri: str) -> None:
        self._go(uri, "simple-review")

    def history(self, uri: str) -> list[str]:
        """The entries on the collection's page, the newest first."""
        self._go(uri, "history")
        self.page.locator("tbody tr", has_text="account:").first.wait_for()
        return self.page.locator("tbody tr").all_inner_texts()

    def _go(self, uri: str, tab: str) -> None:
        # By way of the home page, so that it asks what others did meanwhile. Not by a reload: kinto-admin 6.2 then does not
        # always ask for the records.
        self.page.goto(f"{self.server}/admin/#/")
        self.page.get_by_text("project_version").wait_for()
        self.page.goto(f"{self.server}/admin/#{uri}/{tab}")

    # What an editor does.

    def change(self, name: str, /, **fields: str) -> None:
        """Put new values into the fields of the record in the row that shows `name`, and say so."""
        self._row(name).get_by_title("Edit record").click()
        self._fill(fields)
        self.page.get_by_role("button", name="Update record").click()

    def create(self, **fields: str) -> None:
        self.page.get_by_role("link", name="Create record").first.click()
        self._fill(fields)
        self.page.get_by_role("button", name="Create record").click()

    def delete(self, name: str) -> None:
        self._row(name).get_by_title("Delete record").click()

    def request_review(self, comment: str) -> None:
        self.page.locator("button.request-review").first.click()
        self._answer(comment, "Request review")

    # What a reviewer does, on the page `review`.

    def differences(self) -> list[Locator]:
        """One for each record that differs."""
        self.page.get_by_test_id("simple-review-header").wait_for()
        return self.page.get_by_test_id("record-diff").all()

    def may_approve(self) -> bool:
        self.page.get_by_test_id("simple-review-header").wait_for()
        return self.page.get_by_role("button", name="Approve...").count() > 0

    def approve(self) -> None:
        self.page.get_by_role("button", name="Approve...").click()

    def approve_in_vain(self) -> tuple[int, str]:
        """What the server answered: the status code and the message. kinto-admin 6.2 shows neither."""
        with self.page.expect_response(lambda answer: answer.request.method == "PATCH") as answered:
            self.approve()
        code, message = answered.value.status, answered.value.json()["message"]
        self.refused.append(message)
        return code, message

    def decline(self, comment: str) -> None:
        self.page.get_by_role("button", name="Decline...").click()
        self._answer(comment, "Reject changes")

    def roll_back(self, comment: str) -> None:
        self.page.get_by_role("button", name="Rollback changes...").click()
        self._answer(comment, "Rollback")

    # What one is told.

    def told(self, text: str, picture: Path | None = None) -> str:
        """Wait for a notification with this text; returns all it says. It is dismissed then, after `picture` was taken."""
        toast = self.page.locator(".notifications .toast", has_text=text).first
        toast.wait_for()
        said = toast.inner_text()
        if picture:
            self.screenshot(picture)
        toast.get_by_title("Dismiss").click()
        return said

    def step(self) -> str:
        """The step of the review that is marked as the present one."""
        return self.page.locator(".progress-steps .bs-wizard-step.active").first.inner_text().partition("\n")[0]

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=path, animations="disabled")

    def unexpected(self) -> list[str]:
        """Errors in the page's own program, and requests to any other server."""
        elsewhere = [url for url in self.asked if not url.startswith((self.server.removesuffix("/v1"), "data:", "blob:"))]
        known = [HARMLESS, *self.refused]
        return [error for error in self.errors if not any(text in error for text in known)] + elsewhere

    def _row(self, name: str) -> Locator:
        return self.page.locator("tbody tr", has_text=name)

    def _fill(self, fields: dict[str, str]) -> None:
        for field, value in fields.items():
            self.page.locator(f"#root_{field}").fill(value)

    def _answer(self, comment: str, button: str) -> None:
        dialog = self.page.locator(".modal[role=dialog]")
        dialog.get_by_placeholder("Comment...").fill(comment)
        dialog.get_by_role("button", name=button, exact=True).click()
