"""JupyterLab as a person uses it."""

from pathlib import Path

from playwright.sync_api import Page, WebSocket, expect


class JupyterLab:
    """An open JupyterLab. Make it before the page loads, or it misses the WebSockets."""

    def __init__(self, page: Page):
        self.page = page
        self.sockets: list[WebSocket] = []
        page.on("websocket", lambda socket: self.sockets.append(socket))

    def has_loaded(self) -> None:
        expect(self.page.locator(".jp-Launcher")).to_be_visible(timeout=60_000)

    def upload(self, file: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Upload Files").click()
        chooser.value.set_files(file)
        # The file is listed after its first megabyte; this notice comes after the last.
        expect(self.page.get_by_text(f"Uploaded {file.name}")).to_be_visible(timeout=30_000)

    def open_console(self) -> WebSocket:
        """Starts a kernel with a console; gives the WebSocket they talk over."""
        with self.page.expect_event("websocket", lambda socket: "/channels" in socket.url, timeout=30_000) as kernel:
            self.page.locator(".jp-LauncherCard[data-category=Console]").click()
        # The banner comes from the kernel: before it, what is typed is lost.
        expect(self.page.locator(".jp-CodeConsole-banner")).to_contain_text("IPython", timeout=30_000)
        return kernel.value

    def run(self, code: str, output: str) -> None:
        self.page.locator(".jp-CodeConsole-input .cm-content").click()
        self.page.keyboard.type(code)
        self.page.keyboard.press("Shift+Enter")
        last = self.page.locator(".jp-CodeConsole-content .jp-OutputArea-output").last
        expect(last).to_have_text(output, timeout=30_000)
