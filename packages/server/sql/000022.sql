-- `lanekeeper migrate leave-out` does it in every data center, and waits for what this function left to be waited for by hand.
DROP FUNCTION lanekeeper.leave_out(regclass, text[]);
