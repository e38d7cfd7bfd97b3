"""Colours, corners and type of the page."""

import gradio as gr

FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")

THEME = gr.themes.Base(
    primary_hue="indigo", neutral_hue="slate", radius_size="lg", font=FONTS, font_mono=("ui-monospace", "monospace")
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    body_text_color_subdued="*neutral_600",
    input_background_fill="white",
    input_background_fill_dark="*neutral_900",
    input_border_width="1px",
    button_secondary_background_fill="white",
    button_secondary_background_fill_hover="*neutral_100",
    button_secondary_background_fill_dark="*neutral_800",
    button_secondary_border_color="*border_color_primary",
    button_border_width="1px",
    button_cancel_background_fill="white",
    button_cancel_background_fill_dark="*neutral_900",
    button_cancel_text_color="#dc2626",
    button_cancel_text_color_dark="#f87171",
    button_cancel_border_color="*border_color_primary",
)
