package pki

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// inventory is the file that lists the key files which a cluster has.
const inventory = "inventory.json"

// Folder is where the keys of a cluster lie. It tells a file that was never made from one that has gone: while there are data of the cluster a file
// that the inventory lists, or that every cluster has, is not made anew, because nothing that depends on the old one would work with another.
type Folder struct {
	dir  string
	data string
	made []string
	// listed tells that there is an inventory on disk.
	listed bool
}

// always is what every cluster has had since its first start.
var always = []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "service-account.key", "encryption.json"}

// OpenFolder reads the inventory of dir. data is where the cluster's data are, "" if there are none yet.
func OpenFolder(dir, data string) (*Folder, error) {
	f := &Folder{dir: dir, data: data}
	raw, err := os.ReadFile(filepath.Join(dir, inventory))
	if errors.Is(err, fs.ErrNotExist) {
		if data != "" { // the cluster is older than inventories are
			f.made = slices.Clone(always)
		}
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the inventory of keys: %w", err)
	}
	var list struct {
		Files []string `json:"files"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): remove it if all key files of the cluster are in %s", filepath.Join(dir, inventory), err, dir)
	}
	f.made, f.listed = list.Files, true
	return f, nil
}

// Dir of the keys.
func (f *Folder) Dir() string { return f.dir }

// MissingKeyError says which key has gone, what it was for and how to go on.
type MissingKeyError struct {
	// File that is missing, and Data that need it, or the mark that there were some.
	File, Data string
	// Loss is what does not work without it.
	Loss string
}

func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("%s is missing, but %s is of a cluster that needs it: %s. Restore it from a backup of the same cluster (all files beside it belong together). "+
		"To begin a new cluster instead, move %s away first", e.File, e.Data, e.Loss, e.Data)
}

// Check refuses that a missing file is made: an error if the cluster has had it. path is that of the file, in the folder or beside it.
func (f *Folder) Check(path, loss string) error {
	if _, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil // there, or unreadable, which the reader says
	}
	if f.data == "" || !slices.Contains(f.made, f.name(path)) {
		return nil
	}
	return &MissingKeyError{path, f.data, loss}
}

func (f *Folder) name(path string) string {
	if rel, err := filepath.Rel(f.dir, path); err == nil {
		return rel
	}
	return path
}

// Note writes down that the cluster has these files now.
func (f *Folder) Note(paths ...string) error {
	changed := !f.listed
	for _, path := range paths {
		name := f.name(path)
		if _, err := os.Lstat(path); err == nil && !slices.Contains(f.made, name) {
			f.made, changed = append(f.made, name), true
		}
	}
	if !changed {
		return nil
	}
	return f.save()
}

// Release tells that the cluster does without a file: keys of somebody else's are used instead. If it is there it stays listed.
func (f *Folder) Release(path string) error {
	name := f.name(path)
	if _, err := os.Lstat(path); err == nil || !slices.Contains(f.made, name) {
		return nil
	}
	f.made = slices.DeleteFunc(f.made, func(m string) bool { return m == name })
	return f.save()
}

func (f *Folder) save() error {
	slices.Sort(f.made)
	raw, err := json.MarshalIndent(map[string][]string{"files": f.made}, "", " ")
	if err != nil {
		return err
	}
	f.listed = true
	return WriteFile(filepath.Join(f.dir, inventory), append(raw, '\n'), 0o600)
}

// What does not work without a key.
const (
	LossCA             = "every node, kubeconfig and token of the cluster knows it by this authority"
	LossFrontProxy     = "aggregated API servers know this server by it"
	LossKubelet        = "the serving certificates of the kubelets are signed by it"
	LossServiceAccount = "every token of a service account is signed by it"
	LossEncryption     = "the Secrets in the data are encrypted with it and could never be read again"
	LossToken          = "machines join with it; name it again with the flag if you know it, or any other to have a new one"
)

// CA reads the authority name.crt and name.key, or makes it if the cluster never had it.
func (f *Folder) CA(name, commonName, loss string, clock Clock) (*CA, error) {
	cert, key := filepath.Join(f.dir, name+".crt"), filepath.Join(f.dir, name+".key")
	if err := errors.Join(f.Check(cert, loss), f.Check(key, loss)); err != nil {
		return nil, err
	}
	ca, err := LoadCA(f.dir, name, commonName, clock())
	if err != nil {
		return nil, f.Damaged(err, loss)
	}
	return ca, f.Note(cert, key)
}

// Damaged says of an error in a key file how to go on, if a cluster needs the file.
func (f *Folder) Damaged(err error, loss string) error {
	if f.data == "" {
		return err
	}
	return fmt.Errorf("%w; %s: restore the file from a backup of the same cluster, whose data are in %s", err, loss, f.data)
}

// Secret reads a one-line secret from a file, or makes it if the cluster never had it.
func (f *Folder) Secret(file string) (string, error) {
	if err := f.Check(file, LossToken); err != nil {
		return "", err
	}
	secret, err := LoadSecret(file)
	if err != nil {
		return "", err
	}
	return secret, f.Note(file)
}

// CheckSecret says what is wrong with the content of a file with a secret; nil if it could be one.
func CheckSecret(file, secret string) error {
	switch {
	case secret == "":
		return fmt.Errorf("%s is empty: restore it, or remove it and name a token with the flag", file)
	case strings.ContainsFunc(secret, func(c rune) bool { return c < '!' || c > '~' || c == ':' }):
		return fmt.Errorf("%s is damaged (it holds what no token has): restore it, or remove it and name a token with the flag", file)
	}
	return nil
}
