package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Family is the address family whose tables are meant.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) command() string {
	if f == IPv6 {
		return "ip6tables"
	}
	return "iptables"
}

// Host runs iptables commands. The zero value of Run runs the programs of the machine; tests give their own.
type Host struct {
	Family Family
	// Run runs a command with an input and returns what it printed.
	Run func(ctx context.Context, input string, name string, args ...string) ([]byte, error)
	// variant is the command's name with the backend that works here, e.g. "iptables" or "iptables-legacy".
	variant string
	// legacy says that it is the legacy backend.
	legacy bool
	// started, when set, is told of every process that writes.
	started func(pid int)
}

// ErrMissing is the error when no backend works; it tells a person what to install.
var ErrMissing = errors.New("no usable iptables on this machine: install the iptables package (the nft or the legacy backend, with kernel support for nat)")

// find picks the first backend that can read the nat table. The host's default comes first, so that skiff's rules lie
// where the administrator's are.
func (h *Host) find(ctx context.Context) error {
	if h.variant != "" {
		return nil
	}
	base := h.Family.command()
	var tried []string
	for _, variant := range []string{base, base + "-nft", base + "-legacy"} {
		_, err := h.run(ctx, "", variant, "-w", "5", "-t", string(NAT), "-S", "POSTROUTING")
		if err == nil {
			h.variant = variant
			version, err := h.run(ctx, "", variant, "-V")
			h.legacy = err == nil && bytes.Contains(version, []byte("legacy"))
			return nil
		}
		tried = append(tried, err.Error())
	}
	return fmt.Errorf("%w (%s)", ErrMissing, strings.Join(tried, "; "))
}

func (h *Host) save(ctx context.Context) ([]byte, error) {
	if err := h.find(ctx); err != nil {
		return nil, err
	}
	return h.run(ctx, "", h.variant+"-save")
}

func (h *Host) restore(ctx context.Context, text string) error {
	if err := h.find(ctx); err != nil {
		return err
	}
	_, err := h.run(ctx, text, h.variant+"-restore", "--noflush", "-w", "5")
	return err
}

// list prints the rules of one chain.
func (h *Host) list(ctx context.Context, t Table, chain string) ([]byte, error) {
	if err := h.find(ctx); err != nil {
		return nil, err
	}
	return h.run(ctx, "", h.variant, "-w", "5", "-t", string(t), "-S", chain)
}

func (h *Host) run(ctx context.Context, input, name string, args ...string) ([]byte, error) {
	run := h.Run
	if run == nil {
		run = h.runCommand
	}
	return run(ctx, input, name, args...)
}

func (h *Host) runCommand(ctx context.Context, input, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Start()
	if err == nil {
		if h.started != nil && strings.HasSuffix(name, "-restore") {
			h.started(cmd.Process.Pid)
		}
		err = cmd.Wait()
	}
	if err != nil {
		if text := strings.TrimSpace(errs.String()); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out.Bytes(), nil
}
