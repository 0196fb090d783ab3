package image

import (
	"fmt"
	"os"
	"path/filepath"
)

// maxBlob is the largest manifest or config taken: they are the only things read into memory.
const maxBlob = 8 << 20

func (s *Store) blobPath(digest string) string { return filepath.Join(s.blobDir(), hexOf(digest)) }

// readBlob returns a manifest or config and verifies it.
func (s *Store) readBlob(digest string) ([]byte, error) {
	if !digestPattern.MatchString(digest) {
		return nil, fmt.Errorf("bad digest %q", digest)
	}
	st, err := os.Stat(s.blobPath(digest))
	if err != nil {
		return nil, err
	}
	if st.Size() > maxBlob {
		return nil, corrupt("blob %s is too large", digest)
	}
	raw, err := os.ReadFile(s.blobPath(digest))
	if err != nil {
		return nil, err
	}
	if got := digestOf(raw); got != digest {
		return nil, corrupt("blob %s on disk has the digest %s", digest, got)
	}
	return raw, nil
}

// writeBlob stores a manifest or config under its digest. The caller syncs.
func (s *Store) writeBlob(raw []byte) (digest string, err error) {
	digest = digestOf(raw)
	if _, err := s.readBlob(digest); err == nil {
		return digest, nil
	}
	f, err := os.CreateTemp(s.ingestDir(), ".blob-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), s.blobPath(digest))
	}
	if err != nil {
		return "", explain(fmt.Errorf("writing blob %s: %w", digest, err), s.cfg.Dir)
	}
	return digest, nil
}
