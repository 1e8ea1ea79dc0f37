import unittest

from partitioning import cells, table

CELL = cells.Cell((cells.CONTROL, cells.DATA), cells.DROP, cells.STOP)
OTHER = cells.Cell((cells.DATA,), cells.DELAY, cells.RUNNING)
PAGE = f"# Page\n\n{table.HEAD}\n{table.RULE}\n\nBehind it.\n"
END, LATER = ("0", "3", "ended, partial, not_judged: STOPPED"), ("0", "4", "ended, invalid, not_judged: LATENESS")


class TableTest(unittest.TestCase):
    def test_what_is_written_is_read(self):
        page = table.written(PAGE, [(CELL, END), (OTHER, LATER), (OTHER, END), (OTHER, END)])
        self.assertEqual(table.read(page), {CELL: [END], OTHER: [END, LATER]})
        self.assertTrue(page.startswith("# Page\n\n|") and page.endswith("|\n\nBehind it.\n"), page)

    def test_rows_of_other_cells_stay_and_those_of_this_one_when_asked_to(self):
        page = table.written(PAGE, [(CELL, END), (OTHER, END)])
        self.assertEqual(table.read(table.written(page, [(CELL, LATER)])), {CELL: [LATER], OTHER: [END]})
        self.assertEqual(table.read(table.written(page, [(CELL, LATER)], keeps=True))[CELL], [END, LATER])

    def test_an_end_that_is_not_in_the_table_is_a_fault(self):
        self.assertEqual(table.faults([END, LATER], LATER), [])
        self.assertEqual(len(table.faults([END], LATER)), 1)
        self.assertEqual(len(table.faults(None, LATER)), 1)

    def test_every_part_of_an_end_must_belong_to_the_same_row(self):
        self.assertEqual(len(table.faults([END, LATER], (*END[:2], LATER[2]))), 1)


if __name__ == "__main__":
    unittest.main()
