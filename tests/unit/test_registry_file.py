from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from stdnum.eu import vat

from pipeline.settings import SettingsError
from pipeline.simulate.cmapss import ENGINES, device_name
from pipeline.state.registry import COLUMNS, Line, Wrong, load_registry, read_file

SHIPPED = Path(__file__).resolve().parents[2] / "infra" / "config" / "devices.csv"
HEADER = ",".join(COLUMNS)
ROW = "acme/e-1,A-1,Engine 1,C-1,Nordlicht Airways,DE987650001,true"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "devices.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_row_becomes_a_record(tmp_path: Path) -> None:
    registry = load_registry(write(tmp_path, HEADER, ROW, ""))
    record = registry.get("acme/e-1")
    assert record is not None
    assert (record.asset_id, record.customer_tax_id, record.active) == ("A-1", "DE987650001", True)
    assert registry.get("acme/e-2") is None


def test_columns_may_be_in_any_order_and_after_a_byte_order_mark(tmp_path: Path) -> None:
    reverse = ",".join(reversed(COLUMNS))
    row = ",".join(reversed(ROW.split(",")))
    registry = load_registry(write(tmp_path, "\ufeff" + reverse, row))
    assert registry.devices["acme/e-1"].customer_name == "Nordlicht Airways"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((), "Line 1 .* has no column device_id"),
        ((HEADER.replace(",active", ""),), "Line 1 .* has no column active"),
        ((HEADER + ",note",), "Line 1 .* has column 'note'"),
        ((HEADER + ",active",), "Line 1 .* has column 'active', which is unknown or there twice"),
        ((HEADER, ROW + ",more"), "Line 2 .* has 8 columns, not 7"),
        ((HEADER, ROW, ROW), "Line 3 .*, column device_id: acme/e-1 stands on line 2 already"),
        ((HEADER, ROW.replace("acme/e-1", "e-1")), "Line 2 .*, column device_id: 'e-1' must be"),
        ((HEADER, ROW.replace("A-1", "")), "Line 2 .*, column asset_id: it is empty"),
        ((HEADER, ROW.replace("true", "yes")), "Line 2 .*, column active: 'yes' must be true or"),
        ((HEADER, ROW.replace("Engine 1", "x" * 201)), "Line 2 .*, column asset_name: at most 200"),
        ((HEADER, ROW.replace("Engine 1", '"En"gine')), "Line 2 .* is not CSV"),
    ],
)
def test_errors_name_the_line_and_the_column(
    tmp_path: Path, lines: tuple[str, ...], says: str
) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(SettingsError, match=says) as error:
        load_registry(path)
    assert str(path) in str(error.value)


def test_ids_at_other_systems_and_places_are_columns_that_may_be_there(tmp_path: Path) -> None:
    header = f"{HEADER},site,region,sap.equipment,salesforce.account"
    path = write(tmp_path, header, f"{ROW},HAM,eu,10001,")
    [line] = read_file(path)
    assert isinstance(line, Line)
    assert (line.record.site, line.record.region) == ("HAM", "eu")
    assert line.record.ids == {"sap.equipment": "10001"}, "an empty cell says nothing"
    assert "salesforce.account" in line.columns


def test_a_wrong_line_does_not_keep_the_others_out(tmp_path: Path) -> None:
    second = ROW.replace("e-1", "e-2")
    path = write(tmp_path, HEADER, ROW, ROW, ROW.replace("Engine 1", '"En"g'), "x,y", second)
    found = list(read_file(path))
    assert [one.line for one in found] == [2, 3, 4, 5, 6]
    wrong = [(one.line, one.column) for one in found if isinstance(one, Wrong)]
    assert wrong == [(3, "device_id"), (4, ""), (5, "")]
    assert found[0].line == 2
    assert isinstance(found[-1], Line)


def test_a_file_that_is_not_there_or_no_text_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FIELDLINE_DEVICES_FILE"):
        load_registry(tmp_path / "none.csv")
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="UTF-8"):
        load_registry(path)


def test_the_shipped_registry_has_every_simulated_engine() -> None:
    devices = load_registry(SHIPPED).devices
    assert set(devices) == {f"acme/{device_name(i)}" for i in range(ENGINES)}
    assert sum(not record.active for record in devices.values()) == 2


def test_of_the_shipped_customers_one_has_a_tax_number_that_an_erp_refuses() -> None:
    devices = load_registry(SHIPPED).devices.values()
    engines = Counter(record.customer_id for record in devices)
    numbers = {record.customer_id: record.customer_tax_id for record in devices}
    assert len(engines) == len(numbers) == 10
    (refused,) = [c for c, number in numbers.items() if not vat.is_valid(number)]
    assert engines[refused] == 5
