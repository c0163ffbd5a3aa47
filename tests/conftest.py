"""What holds for every test: signals mean what they mean at a terminal."""

import signal


def pytest_configure() -> None:
    """Tests send signals to processes of their own, which inherit what is ignored here.

    A background job ignores SIGINT and what `nohup` starts SIGHUP, and mimodsl respects that.
    """
    meanings = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, meaning in meanings.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, meaning)
