"""What /health answers: a verdict and an analysis go in, a document fit for JSON comes out. All moments in it are UTC."""

from typing import Any, Final

from portsyncd.analytics.analysis import Analysis, Limit
from portsyncd.analytics.history import utc
from portsyncd.model.health import Health
from portsyncd.model.report import Waiting

FLAPPING_PORTS: Final = 10


def document(health: Health, since: float, version: str, analysis: Analysis | None) -> dict[str, Any]:
    """since: when the status last changed, Unix seconds."""
    return {
        "status": health.status.value,
        "since": timestamp(since),
        "version": version,
        "checks": {
            name: {"status": check.status.value, "reason": check.reason, "details": dict(check.details)}
            for name, check in health.checks.items()
        },
        "awaited_ports": _named(health.awaited_ports),
        "awaited_ports_total": health.awaited_ports.total,
        "pending_ports": _named(health.pending_ports),
        "pending_ports_total": health.pending_ports.total,
        "analytics": None if analysis is None else _brief(analysis),
    }


def _brief(analysis: Analysis) -> dict[str, Any]:
    """The analysis without its series, which are a matter for ``portsyncd analytics``."""
    return {
        "since": timestamp(analysis.since),
        "at": timestamp(analysis.at),
        "status": analysis.status,
        "reasons": list(analysis.reasons),
        "starts": analysis.starts,
        "recovery_success_ratio": analysis.recovery_success,
        "corruption_recovery_ratio": analysis.corruption_recovery,
        "eoiu_timeout_ratio": analysis.eoiu_timeouts,
        "availability_ratio": analysis.availability,
        "last_healthy_restart": None
        if analysis.last_healthy_restart is None
        else timestamp(analysis.last_healthy_restart),
        "restart_limit": _limit(analysis.restart_limit),
        "event_limit": _limit(analysis.event_limit),
        "flapping_ports": [
            {
                "port": port.name,
                "flaps": port.flaps,
                "penalty": round(port.penalty),
                "suppressed": port.suppressed,
                "crosses_in_seconds": None if port.crosses_in is None else round(port.crosses_in),
            }
            for port in analysis.flapping[:FLAPPING_PORTS]
        ],
        "flapping_ports_total": len(analysis.flapping),
    }


def _limit(limit: Limit | None) -> dict[str, Any] | None:
    if limit is None:
        return None
    return {"count": limit.count, "limit": limit.limit, "seconds": limit.seconds, "exceeded": limit.exceeded}


def _named(ports: Waiting) -> list[dict[str, Any]]:
    return [{"port": port.name, "reason": port.reason, "for_seconds": round(port.seconds, 1)} for port in ports.longest]


def timestamp(moment: float) -> str:
    """Unix seconds as /health has them: UTC, to the second."""
    return utc(moment).isoformat(timespec="seconds").replace("+00:00", "Z")
