import pytest

from turbotrain.balancing import PeriodicSchedule, WhenNeededSchedule


def test_periodic():
    schedule = PeriodicSchedule(free=2, suppress=1)
    assert [schedule.suppresses(i) for i in range(6)] == [False, False, True] * 2
    assert not any(PeriodicSchedule(free=1, suppress=0).suppresses(i) for i in range(5))
    assert all(PeriodicSchedule(free=0, suppress=3).suppresses(i) for i in range(5))
    with pytest.raises(ValueError, match='not both 0'):
        PeriodicSchedule(free=0, suppress=0)


def drive(schedule: WhenNeededSchedule, cosine, steps: range) -> list[bool]:
    answers = []
    for step in steps:
        answers.append(schedule.suppresses(step))
        if answers[-1]:
            schedule.observe(step, cosine(step))
    return answers


def test_when_needed_suppresses_through_conflict_and_probes_in_peace():
    peace = drive(WhenNeededSchedule(interval=4), lambda step: 0.5, range(13))
    assert [i for i, answer in enumerate(peace) if answer] == [0, 4, 8, 12]
    assert all(drive(WhenNeededSchedule(interval=4), lambda step: -0.5, range(13)))
    turning = drive(
        WhenNeededSchedule(interval=4), lambda s: -0.5 if 8 <= s < 20 else 0.5, range(40)
    )
    assert sum(turning[:8]) == 2
    assert sum(turning[12:20]) >= 7
    assert sum(turning[24:]) <= 5


def test_when_needed_goes_on_from_its_state():
    def cosine(step):
        return -0.5 if step % 7 < 3 else 0.4

    whole = drive(WhenNeededSchedule(interval=3), cosine, range(40))
    first, second = WhenNeededSchedule(interval=3), WhenNeededSchedule(interval=3)
    begun = drive(first, cosine, range(20))
    second.load_state_dict(first.state_dict())
    assert begun + drive(second, cosine, range(20, 40)) == whole
    assert drive(WhenNeededSchedule(interval=3), cosine, range(20, 40)) != whole[20:]


def test_the_running_mean_keeps_what_momentum_says():
    schedule = WhenNeededSchedule(momentum=0.9)
    schedule.observe(0, 1.0)
    schedule.observe(1, -1.0)
    assert schedule.mean == pytest.approx(0.9 * 1.0 + 0.1 * -1.0)
