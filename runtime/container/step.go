package container

// Between two writes of a sandbox's or a container's life the daemon may be killed. Every such place has a name here, so that a test can
// kill it at each and hold that what is found afterwards is right (TestKilledAtEveryStep). What it has to be is this:
//
//   - a container that is listed ran, runs, or is being started by its keeper; one that is not listed has never run;
//   - a sandbox that is listed as ready can be used; any other can be removed, and leaves nothing.
//
// In the product this costs a comparison with nil.
func (m *Manager) step(name string) {
	if m.cfg.reached != nil {
		m.cfg.reached(name)
	}
}
