"""What the site's traffic is made of: districts, kinds of clinics, made-up names, browsers. Read by `site.py`.

Districts are real; clinics are not: words of water, sixteen to each kind. Addresses are those kept for documentation
(RFC 5737, RFC 3849), hosts end in .example (RFC 2606).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class District:
    """Where people look for a clinic."""

    name: str
    hangul: str
    weight: float
    peak_hour: float
    """The hour, in Korea, at which its demand is highest beyond the common shape of the day."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a clinic treats."""

    name: str
    hangul: str
    weight: float
    price_krw: int


@dataclass(frozen=True, slots=True)
class Clinic:
    """A clinic's page and how well it does."""

    name: str
    path: str
    district: District
    kind: Kind
    appeal: float
    """Between 0 and 1: how likely somebody who sees its page books."""
    page_bytes: int


DISTRICTS = (
    District("Gangnam", "강남", 2.6, 12.5),
    District("Hongdae", "홍대", 1.7, 21.5),
    District("Jamsil", "잠실", 1.3, 18.5),
    District("Bundang", "분당", 1.2, 9.0),
    District("Songdo", "송도", 0.7, 10.0),
    District("Haeundae", "해운대", 1.1, 15.5),
    District("Seomyeon", "서면", 1.0, 19.5),
    District("Dongseongno", "동성로", 0.8, 16.5),
)

KINDS = (
    Kind("Skin", "피부과", 2.4, 88_000),
    Kind("Dental", "치과", 1.9, 64_000),
    Kind("Eye", "안과", 1.0, 52_000),
    Kind("ENT", "이비인후과", 0.9, 23_000),
    Kind("Bone", "정형외과", 0.8, 47_000),
    Kind("Child", "소아과", 0.7, 19_000),
)

WATER = (
    "Yunseul", "Yeoul", "Mulbora", "Saemmul", "Dolsaem", "Naetga", "Mulgyeol", "Iseul",
    "Bitmul", "Narutbae", "Murangae", "Somulgil", "Jandolbat", "Onsaem", "Mulmaru", "Yeonmot",
)  # fmt: skip
"""Two clinics of each kind in each of the eight districts take one word each."""

PHONE, DESKTOP = "phone", "desktop"
_KHTML = "(KHTML, like Gecko)"
BROWSERS = (
    (PHONE, f"Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 {_KHTML} Chrome/140.0.0.0 Mobile Safari/537.36"),
    (PHONE, f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 {_KHTML} Mobile/15E148"),
    (PHONE, f"Mozilla/5.0 (Linux; Android 14; K) AppleWebKit/537.36 {_KHTML} Chrome/138.0.0.0 Mobile Safari/537.36"),
    (DESKTOP, f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 {_KHTML} Chrome/140.0.0.0 Safari/537.36"),
    (DESKTOP, f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 {_KHTML} Safari/605.1.15"),
)
OPEN_BOT = "SaemBot/2.1 (+https://saembot.example/about)"
HIDDEN_BOT = BROWSERS[3][1]
"""A scraper that calls itself a browser, but runs no scripts: it never sends an event."""

SITE = "https://booking.example"
REFERRERS = ("-", "https://search.example/", "https://search.example/", "https://sns.example/", "https://map.example/")


def address(number: int) -> str:
    """An address that belongs to nobody; one in eight is IPv6."""
    if number % 8 == 7:
        return f"2001:db8::{number & 0xFFFF:x}"
    block = ("192.0.2", "198.51.100", "203.0.113")[number % 3]
    return f"{block}.{number // 3 % 254 + 1}"


def clinics(appeals: list[float]) -> list[Clinic]:
    """All clinics of the site; `appeals` has a number between 0 and 1 for each."""
    made: list[Clinic] = []
    for kind in KINDS:
        for number, word in enumerate(WATER):
            district = DISTRICTS[number % len(DISTRICTS)]
            appeal = appeals[len(made)]
            path = f"/clinic/{word}-{kind.name}".lower()
            size = 14_000 + 900 * (len(made) * 37 % 40)
            made.append(Clinic(f"{word} {kind.name}", path, district, kind, 0.05 + 0.32 * appeal**2, size))
    return made


def search_path(district: District, kind: Kind) -> str:
    """The page of results, its query in Hangul and so percent-encoded."""
    return f"/search?q={quote(f'{district.hangul} {kind.hangul}')}"
