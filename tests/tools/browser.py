"""A headless Chromium, driven over a pipe: no driver and no client library is needed.

The protocol is Chrome's (``--remote-debugging-pipe``): JSON objects, each ended by a zero byte.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
# Chromium reads from 3 and writes to 4.
_START = 'exec "${@:3}" 3<&"$1" 4>&"$2"'
_KEYS = dict(
    Tab=9, Enter=13, Escape=27, End=35, Home=36, ArrowLeft=37, ArrowRight=39
)  # fmt: skip


class Browser:
    """One page in a window of a certain size.

    ``troubles`` are console messages, exceptions and violations of the page's policy; ``requests``
    the addresses that were asked for.
    """

    def __init__(self, profile: Path, width: int, height: int, scheme: str = 'light') -> None:
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._buffer = b''
        reads, self._to = os.pipe()
        self._from, writes = os.pipe()
        command = [
            CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
            '--hide-scrollbars', '--remote-debugging-pipe', f'--user-data-dir={profile}',
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ['bash', '-c', _START, 'bash', str(reads), str(writes), *command],
            pass_fds=(reads, writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(reads)
        os.close(writes)
        self._session = None
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        found = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = found['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')
        self.call(
            'Emulation.setDeviceMetricsOverride', width=width, height=height,
            deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        features = [dict(name='prefers-color-scheme', value=scheme)]
        self.call('Emulation.setEmulatedMedia', features=features)

    def __enter__(self) -> 'Browser':
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)  # Chromium ends when its pipe does
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

    def call(self, method: str, **params: object) -> dict:
        """Send a command and wait for its answer."""
        self._number += 1
        message = dict(id=self._number, method=method, params=params)
        if self._session:
            message['sessionId'] = self._session
        data = json.dumps(message).encode() + b'\0'
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._receive()
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']

    def _receive(self, seconds: float = 60.0) -> dict:
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], seconds)
            chunk = os.read(self._from, 1 << 20) if ready else b''
            if not chunk:
                raise RuntimeError('the browser does not answer')
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b'\0')
        message = json.loads(text)
        params = message.get('params', {})
        match message.get('method'):
            case 'Runtime.exceptionThrown' | 'Runtime.consoleAPICalled' | 'Log.entryAdded':
                self.troubles.append(json.dumps(params)[:500])
            case 'Network.requestWillBeSent':
                self.requests.append(params['request']['url'][:80])
        return message

    def open(self, path: Path, fragment: str = '') -> None:
        """Load a file, and wait until its pictures are there."""
        self.call('Page.navigate', url='about:blank')
        self.call('Page.navigate', url=path.resolve().as_uri() + fragment)
        deadline = time.monotonic() + 60
        while self.run('document.readyState + location.protocol') != 'completefile:':
            assert time.monotonic() < deadline, 'the page does not load'
            time.sleep(0.05)

    def run(self, code: str) -> object:
        """The value of a JavaScript expression."""
        found = self.call('Runtime.evaluate', expression=code, returnByValue=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def press(self, *keys: str) -> None:
        """Type keys, one after the other, where the focus is."""
        for key in keys:
            for kind in ('keyDown', 'keyUp'):
                code = _KEYS[key]
                self.call(
                    'Input.dispatchKeyEvent', type=kind, key=key, code=key,
                    windowsVirtualKeyCode=code, nativeVirtualKeyCode=code,
                )  # fmt: skip

    def point(self, selector: str, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        """Move the pointer onto an element; where it is then."""
        box = self.run(
            f'(() => {{const e = document.querySelector({selector!r}); '
            'e.scrollIntoView({block: "center"}); const r = e.getBoundingClientRect(); '
            'return [r.x, r.y, r.width, r.height]})()'
        )
        x, y = box[0] + across * box[2], box[1] + down * box[3]
        self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
        return x, y

    def click(self, selector: str) -> None:
        """Click on an element, as a person would: where it is."""
        x, y = self.point(selector)
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """What is seen, or all of the page, as a PNG."""
        found = self.call('Page.captureScreenshot', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found['data']))
        return path
