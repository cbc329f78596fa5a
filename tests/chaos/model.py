"""The load's own record of what was acknowledged, and the judgement of what a store holds by it."""

import dataclasses
import json

STATES = ("active", "frozen", "closed")
TAGS = ("new", "vip", "夏")
NOTE_MAX = 300
BASE_US = 1_600_000_000_000_000
SHOWN_MAX = 5


def key_of(member):
    return f"chaos-{member:06d}"


def image_of(member, seq):
    """(deleted, fields): load.c's fill()."""
    if (member + seq * 7) % 20 == 0:
        return True, {}
    note = chr(ord("a") + seq % 26) * ((member * 7 + seq * 13) % NOTE_MAX)
    return False, {
        "name": f"n{member}-{seq}",
        "status": STATES[seq % 3],
        "points": seq,
        "balance": seq * 0.25,
        "updated_at": BASE_US + seq * 1000,
        "tags": list(TAGS[: seq % 4]),
        "note": note,
    }


@dataclasses.dataclass
class Member:
    seq: int  # newest acknowledged, 0: none
    version: int
    unknown: list  # later ones that may be in the log


def read(path):
    """{key: Member} as the load left it, with the member's number beside it."""
    members = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            members[row["member"]] = Member(row["seq"], row["version"], row["unknown"])
    return members


@dataclasses.dataclass
class Judgement:
    """What one store holds, by the model. Every wrong member is in exactly one of the counts."""

    compared: int = 0
    right: int = 0
    newer_unknown: int = 0  # right: a publish whose answer was lost turned out to be in the log
    lost: int = 0  # acknowledged, and not there
    older: int = 0  # something older than what was acknowledged
    resurrected: int = 0  # lives, and was deleted by what was acknowledged
    wrong: int = 0  # the right version with other content, or a version nobody was told of
    invented: int = 0  # a key that was never acknowledged and of no unknown publish
    examples: list = dataclasses.field(default_factory=list)

    @property
    def proven(self):
        return self.compared > 0 and not self.bad

    @property
    def bad(self):
        return self.lost + self.older + self.resurrected + self.wrong + self.invented

    def note(self, kind, text):
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < SHOWN_MAX:
            self.examples.append(f"{kind}: {text}")


def judge(members, held):
    """held: {key: (version, deleted, fields)}, all that the store has."""
    judgement = Judgement()
    for number, member in members.items():
        key = key_of(number)
        judgement.compared += 1
        _judge_one(judgement, key, number, member, held.get(key))
    known = {key_of(number) for number in members}
    for key in held:
        if key not in known:
            judgement.note("invented", key)
    return judgement


def _judge_one(judgement, key, number, member, entry):
    if entry is None:
        if member.seq == 0:
            judgement.right += 1  # only unknown publishes, and none of them arrived
        else:
            judgement.note("lost", f"{key}, acknowledged as {member.version}")
        return
    version, deleted, fields = entry
    if member.seq and version < member.version:
        kind = "older"
        if image_of(number, member.seq)[0] and not deleted:
            kind = "resurrected"
        judgement.note(kind, f"{key} holds {version}, acknowledged was {member.version}")
        return
    if member.seq and version == member.version:
        if (deleted, fields) == image_of(number, member.seq):
            judgement.right += 1
        else:
            judgement.note("wrong", f"{key} at {version}: other content than was acknowledged")
        return
    # Newer than all that was acknowledged: then one of those whose answer was lost.
    possible = list(member.unknown)
    if member.version == 0 and member.seq:
        possible.append(member.seq)  # acknowledged without saying where it stands
    if any((deleted, fields) == image_of(number, seq) for seq in possible):
        judgement.right += 1
        judgement.newer_unknown += 1
    else:
        judgement.note("wrong", f"{key} holds {version}, which nobody was told of")
