from __future__ import annotations

from transforms.core.damage import Damage


def test_damage_of_two_parts_is_added() -> None:
    one, other = Damage(1, 0.5, 1.0, 2, 0.25, 3.0, 2.0), Damage(2, 1.0, 0.5, 3, 0.5, 1.0, 0.5, True, "a disk")
    assert one + other == Damage(3, 1.5, 1.5, 5, 0.75, 4.0, 2.5, True, "a disk")
    assert (other + Damage(read_error="another")).read_error == "a disk"
    assert Damage() + Damage() == Damage()
