"""scikit-learn's callbacks, where the installed version has them (1.9 and later)."""

from __future__ import annotations

from typing import Any

__all__ = ["CallbackSupportMixin", "with_callbacks"]

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks  # pyright: ignore
except ImportError:

    class _NoContext:
        """Stand-in for a callback context: nobody listens."""

        def subcontext(self, **kwargs: Any) -> _NoContext:
            """Return itself: a task below is as silent."""
            return self

        def call_on_fit_task_begin(self, **kwargs: Any) -> _NoContext:
            """Tell nobody."""
            return self

        def call_on_fit_task_end(self, **kwargs: Any) -> bool:
            """Nobody asks to stop."""
            return False

    class CallbackSupportMixin:
        """An estimator without ``set_callbacks``."""

        def _init_callback_context(self, **kwargs: Any) -> _NoContext:
            return _NoContext()

    def with_callbacks(method: Any) -> Any:
        """Return the method as it is."""
        return method
