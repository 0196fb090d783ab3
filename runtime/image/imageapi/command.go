package imageapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"codeberg.org/skiff/skiff/runtime/image"
)

// PullCommand is `skiff image pull REF…`.
func PullCommand(ctx context.Context, api API, out io.Writer, opts image.PullOptions, refs ...string) error {
	return each(refs, func(ref string) error {
		start := time.Now()
		img, err := api.Pull(ctx, ref, opts)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: pulled %s in %s\n", ref, img.ID, took(start))
		return err
	})
}

// ImportCommand is `skiff image import FILE…`; "-" is in.
func ImportCommand(ctx context.Context, api API, out io.Writer, in io.Reader, files ...string) error {
	return each(files, func(name string) error {
		start := time.Now()
		r := in
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			r = f
		}
		images, err := api.Import(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, img := range images {
			if _, err := fmt.Fprintf(out, "%s: imported %s in %s\n", name, display(img), took(start)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ListCommand is `skiff image ls [-o json]`.
func ListCommand(ctx context.Context, api API, out io.Writer, asJSON bool) error {
	images, err := api.List(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(images)
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tTAG\tIMAGE ID\tSIZE")
	for _, img := range images {
		rows := img.Names
		if len(rows) == 0 {
			rows = []string{"<none>:<none>"}
			if len(img.Digests) > 0 {
				repo, _, _ := strings.Cut(img.Digests[0], "@")
				rows = []string{repo + ":<none>"}
			}
		}
		for _, name := range rows {
			i := strings.LastIndexByte(name, ':')
			fmt.Fprintf(w, "%s\t%s\t%.12s\t%s\n", name[:i], name[i+1:], strings.TrimPrefix(img.ID, "sha256:"), size(img.Size))
		}
	}
	return w.Flush()
}

// RemoveCommand is `skiff image rm REF…`.
func RemoveCommand(ctx context.Context, api API, out io.Writer, refs ...string) error {
	return each(refs, func(ref string) error {
		if err := api.Remove(ctx, ref); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s: removed\n", ref)
		return err
	})
}

// each goes on after an error, so that one bad name does not hide the others.
func each(args []string, do func(string) error) error {
	var errs []error
	for _, a := range args {
		errs = append(errs, do(a))
	}
	return errors.Join(errs...)
}

func display(img *image.Image) string {
	if len(img.Names) > 0 {
		return strings.Join(img.Names, ", ")
	}
	return img.ID
}

func took(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
