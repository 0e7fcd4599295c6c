"""The interactive figures of the book: HTML that stands alone, made lively by ``book/_static/figures.js``.

Each function returns a string for ``IPython.display.HTML``. It holds the data as JSON and a static drawing. The drawing
is what is seen without that script (in a notebook, too) and in print.
"""

from ferlab.interactive.curves import error_plot, error_rows
from ferlab.interactive.embedding import embed, opening
from ferlab.interactive.players import three_players
from ferlab.interactive.stepping import stepper, stepper_face
from ferlab.interactive.switches import region_switches, switch_face
