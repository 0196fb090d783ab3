package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/store/encrypt"
)

// wireEncryption reads the keys by which values are encrypted at rest; at the first start it makes them.
func (s *Server) wireEncryption() (err error) {
	cfg := encrypt.Config{Foreign: s.cfg.EncryptionProviderConfig}
	if cfg.Foreign != "" {
		if err := s.keys.Release(s.cfg.Paths.EncryptionKeys()); err != nil {
			return err
		}
	} else {
		if err := s.keys.Check(s.cfg.Paths.EncryptionKeys(), pki.LossEncryption); err != nil {
			return err
		}
		cfg.File = &encrypt.File{Path: s.cfg.Paths.EncryptionKeys(), Write: pki.WriteFile}
	}
	s.encryption, err = encrypt.New(cfg)
	switch {
	case cfg.File == nil:
		return err
	case err != nil:
		return s.keys.Damaged(err, pki.LossEncryption)
	}
	return s.keys.Note(cfg.File.Path)
}

// encryptionChecks says whether the plugins with keys are well.
func (s *Server) encryptionChecks() []apiserver.Check {
	if !s.encryption.HasPlugins() {
		return nil
	}
	return []apiserver.Check{{Name: "kms-providers", Run: s.encryption.Health, ReadyOnly: true}}
}

// resumeEncryption finishes a rotation that was cut off and encrypts what was stored before there were keys.
func (s *Server) resumeEncryption(ctx context.Context) error {
	done, err := s.encryption.Resume(ctx, s.store)
	if errors.Is(err, encrypt.ErrBusy) {
		return nil // somebody is at it already
	}
	if done.Values > 0 || done.Unreadable > 0 {
		s.cfg.Log.Info("stored values were written again with the encryption key in force", "values", done.Values, "unreadable", done.Unreadable)
	}
	return err
}

// encryptionHandler serves `skiff secrets-encrypt`. It is behind authorization: only who may POST to this path below
// /v1-skiff, which by default is an administrator of the cluster, gets here. Keys never leave the server.
func (s *Server) encryptionHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verb := path.Base(r.URL.Path)
		if (verb == "status") != (r.Method == http.MethodGet) {
			http.Error(w, "GET …/status, POST …/rotate, …/enable, …/disable or …/reencrypt", http.StatusMethodNotAllowed)
			return
		}
		// The change goes on when the client has gone: what was begun is finished.
		ctx := context.WithoutCancel(r.Context())
		var err error
		var done encrypt.Rewritten
		switch verb {
		case "status":
			ctx = r.Context()
		case "rotate":
			done, err = s.encryption.Rotate(ctx, s.store)
		case "enable":
			done, err = s.encryption.Enable(ctx, s.store)
		case "disable":
			done, err = s.encryption.Disable(ctx, s.store)
		case "reencrypt":
			done, err = s.encryption.Reencrypt(ctx, s.store)
		default:
			http.NotFound(w, r)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		answer := encryptionAnswer{Rewritten: done.Values, Unreadable: done.Unreadable}
		answer.Status, err = s.encryption.Status(ctx, s.store)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	})
}

// encryptionAnswer is what the server says to the command.
type encryptionAnswer struct {
	Rewritten, Unreadable int
	Status                encrypt.Status
}

// encryptionPath is below the API server's address; a verb follows.
const encryptionPath = "/v1-skiff/encryption/"

// EncryptionCommand asks the server of this machine for a change of the encryption keys, and writes how it went. verb is
// status, rotate, enable, disable or reencrypt. Of a server that does not run, status tells what the key file says.
func EncryptionCommand(ctx context.Context, paths wellknown.Paths, verb string, out io.Writer) error {
	config, err := clientcmd.BuildConfigFromFlags("", paths.AdminKubeconfig())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no server has run on this machine: %w", err)
	}
	if err != nil {
		return err
	}
	answer, err := askEncryption(ctx, config, verb)
	if err != nil && verb == "status" {
		status, fileErr := encrypt.FileStatus(paths.EncryptionKeys())
		if fileErr != nil {
			return errors.Join(err, fileErr)
		}
		fmt.Fprintf(out, "The server does not answer; this is what the key file says.\n")
		answer.Status, err = status, nil
	}
	if err != nil {
		return err
	}
	answer.print(out, verb)
	return nil
}

func askEncryption(ctx context.Context, config *rest.Config, verb string) (answer encryptionAnswer, err error) {
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return answer, err
	}
	method := http.MethodPost
	if verb == "status" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, config.Host+encryptionPath+verb, nil)
	if err != nil {
		return answer, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("the server refused: %s", strings.TrimSpace(string(body)))
	}
	return answer, json.Unmarshal(body, &answer)
}

func (a *encryptionAnswer) print(out io.Writer, verb string) {
	s := &a.Status
	if verb != "status" {
		fmt.Fprintf(out, "%d values were written again.\n", a.Rewritten)
		if a.Unreadable > 0 {
			fmt.Fprintf(out, "%d values cannot be opened with any key and were left as they are; the server's log names them.\n", a.Unreadable)
		}
	}
	state := "disabled"
	if s.Enabled {
		state = "enabled"
	}
	fmt.Fprintf(out, "Encryption: %s\nKey file:   %s\n", state, s.File)
	if s.Key != "" {
		fmt.Fprintf(out, "Key:        %s\n", s.Key)
	}
	if len(s.Older) > 0 {
		fmt.Fprintf(out, "Older keys: %s (a rotation is not finished)\n", strings.Join(s.Older, ", "))
	}
	if len(s.Resources) > 0 {
		fmt.Fprintf(out, "Resources:  %s\n", strings.Join(s.Resources, ", "))
	}
	if s.Running != "" {
		fmt.Fprintf(out, "Running:    %s\n", s.Running)
	}
	if s.Failed != "" {
		fmt.Fprintf(out, "Failed:     %s\n", s.Failed)
	}
	for i, form := range slices.Sorted(maps.Keys(s.Values)) {
		label := "            "
		if i == 0 {
			label = "Stored:     "
		}
		fmt.Fprintf(out, "%s%d %s\n", label, s.Values[form], form)
	}
}
