package apiserver

func (q *request) isConnect() bool { return contains(q.sub.Verbs, "connect") }

func (q *request) connect() error { return errNoRoute() }
