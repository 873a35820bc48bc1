"""What a user sees and does on the chat page."""

from playwright.sync_api import Locator, Page, expect


class Chat:
    """The page, by what is written on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.prompt = page.get_by_label("Message", exact=True)
        self.stop = page.get_by_role("button", name="Stop")
        self.send = page.get_by_role("button", name="Send", exact=True)
        self.model = page.get_by_role("combobox", name="Model")
        self.standing = page.locator("#standing")
        self.thread = page.get_by_role("log")
        self.answers = page.get_by_role("article", name="Answer")
        self.said = page.locator(".user .text")
        self.questions = page.get_by_role("article", name="You")
        self.conversations = page.get_by_role("navigation", name="Earlier conversations").get_by_role(
            "listitem"
        )

    @property
    def answer(self) -> Locator:
        """The latest answer's text."""
        return self.answers.last.locator(".text")

    def ask(self, text: str) -> None:
        """Write a message and send it."""
        self.prompt.fill(text)
        self.prompt.press("Enter")

    def done(self) -> None:
        """Wait until no answer is on its way."""
        expect(self.stop).to_be_hidden()
        expect(self.answers.last).to_have_attribute("aria-busy", "false")

    def press(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name, exact=True).click()
