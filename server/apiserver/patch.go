package apiserver

func (q *request) patch() error { return errMethod() }
