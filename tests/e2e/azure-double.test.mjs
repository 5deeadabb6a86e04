// The Azure double itself (tests/doubles/arm): Microsoft's own clients work with it as with Azure, its rules hold, each fault
// that it can make happens, and what keeps it honest can fail. The parts share one double and run in this order: the last looks back at all.
import './azure-double/sdk.mjs';
import './azure-double/sign_in.mjs';
import './azure-double/resource_manager.mjs';
import './azure-double/data.mjs';
import './azure-double/faults.mjs';
import './azure-double/honesty.mjs';
